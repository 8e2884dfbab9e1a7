using System.Collections.Generic;
using System.Threading;
using RabbitMQ.Client;
using RabbitMQ.Client.Exceptions;

/// <summary>What an application does when its broker goes: the client has no recovery, so it connects again.</summary>
public static partial class Interop
{
    private static void Recovery()
    {
        var connection = Factory().CreateConnection();
        try
        {
            var lost = new ManualResetEvent(false);
            connection.ConnectionShutdown += (sender, reason) => lost.Set();
            BeforeRestart(connection);
            try
            {
                Checks.Control("restart");
            }
            catch (SkipException)
            {
                DeleteDurables(connection.CreateModel());
                throw;
            }
            Checks.Check("the client tells that the connection is lost", lost.WaitOne(Checks.Patience));
        }
        finally
        {
            connection.Abort(1000); // closing it would fail, as it is lost
        }
        IConnection again = null;
        Checks.WaitFor("the program connects again", () => (again = ConnectionIfAny()) != null);
        using (again)
        {
            AfterRestart(again.CreateModel());
        }
    }

    private static void BeforeRestart(IConnection connection)
    {
        var model = connection.CreateModel();
        model.ExchangeDeclare("interop.durable", ExchangeType.Direct, true);
        foreach (var queue in new[] { "interop.kept", "interop.consumed" })
        {
            model.QueueDeclare(queue, true);
            model.QueueBind(queue, "interop.durable", queue, false, null);
        }
        var consumer = new QueueingBasicConsumer(model);
        model.BasicConsume("interop.consumed", true, null, consumer);
        // A transaction, as the client has no confirms.
        model.TxSelect();
        model.BasicPublish("interop.durable", "interop.consumed", Persistent(model), Bytes("before"));
        model.BasicPublish("interop.durable", "interop.kept", Persistent(model), Bytes("persistent"));
        model.BasicPublish("interop.durable", "interop.kept", null, Bytes("transient"));
        model.TxCommit();
        Checks.Check("consuming before the restart", Text(Delivered(consumer).Body), "before");
    }

    private static void AfterRestart(IModel model)
    {
        var consumer = new QueueingBasicConsumer(model);
        model.BasicConsume("interop.consumed", true, null, consumer);
        model.BasicPublish("interop.durable", "interop.consumed", Persistent(model), Bytes("after"));
        Checks.Check("by the old binding, publishing and consuming go on", Text(Delivered(consumer).Body), "after");
        Checks.Check("the persistent message is there, the transient one is not",
            Drained(model, "interop.kept"), new List<string> { "persistent" });
        DeleteDurables(model);
    }

    private static void DeleteDurables(IModel model)
    {
        model.QueueDelete("interop.kept", false, false, false);
        model.QueueDelete("interop.consumed", false, false, false);
        model.ExchangeDelete("interop.durable", false, false);
    }

    private static IConnection ConnectionIfAny()
    {
        try
        {
            return Factory().CreateConnection();
        }
        catch (BrokerUnreachableException)
        {
            return null;
        }
    }

    private static IBasicProperties Persistent(IModel model)
    {
        var properties = model.CreateBasicProperties();
        properties.SetPersistent(true);
        return properties;
    }
}
