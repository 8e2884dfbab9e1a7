package interop;

/** RabbitMQ's Java client: blocking calls, callbacks for what the broker sends, the client's own recovery. */
public final class Interop {
    private Interop() {}

    public static void main(String[] names) {
        Checks.scenario("connect", Basics::connect);
        Checks.scenario("auth-failure", Basics::authFailure);
        Checks.scenario("declare", Basics::declare);
        Checks.scenario("confirms", Basics::confirms);
        Checks.scenario("mandatory-return", Basics::mandatoryReturn);
        Checks.scenario("consume", Basics::consume);
        Checks.scenario("get", Basics::get);
        Checks.scenario("exclusive", Basics::exclusive);
        Checks.scenario("auto-delete", Basics::autoDelete);
        Checks.scenario("exchange-bindings", Basics::exchangeBindings);
        Checks.scenario("headers", Headers::headers);
        Checks.scenario("dead-letter", Queues::deadLetter);
        Checks.scenario("ttl", Queues::ttl);
        Checks.scenario("priority", Queues::priority);
        Checks.scenario("direct-reply-to", Queues::directReplyTo);
        Checks.scenario("large-message", Queues::largeMessage);
        Checks.scenario("cancel-notify", Notices::cancelNotify);
        Checks.scenario("blocked", Notices::blocked);
        Checks.scenario("recovery", Notices::recovery);
        Checks.run(names);
        System.exit(0); // a connection that a failed scenario left open would keep the process
    }
}
