using System;

/// <summary>RabbitMQ's .NET client as Mono carries it: blocking calls, a queue for what consumers are sent, AMQP 0-9.
/// </summary>
public static partial class Interop
{
    private const string TooOld = "this version of the client is older than ";

    public static void Main(string[] names)
    {
        Checks.Scenario("connect", Connect);
        Checks.Scenario("auth-failure", AuthFailure);
        Checks.Scenario("declare", Declare);
        Checks.Scenario("confirms", () => throw new SkipException(TooOld + "publisher confirms"));
        Checks.Scenario("mandatory-return", MandatoryReturn);
        Checks.Scenario("consume", Consume);
        Checks.Scenario("get", Get);
        Checks.Scenario("exclusive", Exclusive);
        Checks.Scenario("auto-delete", AutoDelete);
        Checks.Scenario("exchange-bindings", () => throw new SkipException(TooOld + "exchange.bind"));
        Checks.Scenario("headers", Headers);
        Checks.Scenario("dead-letter", DeadLetter);
        Checks.Scenario("ttl", Ttl);
        Checks.Scenario("priority", Priority);
        Checks.Scenario("direct-reply-to", DirectReplyTo);
        Checks.Scenario("large-message", LargeMessage);
        Checks.Scenario("cancel-notify", () => throw new SkipException(TooOld + "the broker's basic.cancel"));
        Checks.Scenario("blocked", () => throw new SkipException(TooOld + "connection.blocked"));
        Checks.Scenario("recovery", Recovery);
        Checks.Run(names);
        Environment.Exit(0); // a connection that a failed scenario left open would keep the process
    }
}
