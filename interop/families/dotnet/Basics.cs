using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;
using RabbitMQ.Client.Exceptions;

/// <summary>Connections, declarations, publishing, receiving: what every application does.</summary>
public static partial class Interop
{
    // ---- connections, and what is refused on them

    private static void Connect()
    {
        var connection = Factory().CreateConnection();
        var server = connection.ServerProperties;
        Checks.Check("the server names a product", Text(server["product"]).Length > 0);
        var capabilities = (IDictionary)server["capabilities"];
        foreach (var name in new[] { "publisher_confirms", "consumer_cancel_notify", "basic.nack" })
        {
            Checks.Check("capability " + name, capabilities[name], true);
        }
        var model = connection.CreateModel();
        Checks.Check("a channel opens", model.IsOpen);
        model.Close();
        Checks.Check("the channel closes with 200", (int)model.CloseReason.ReplyCode, 200);
        connection.Close();
        Checks.Check("the connection closes with 200", (int)connection.CloseReason.ReplyCode, 200);
    }

    private static void AuthFailure()
    {
        var wrongPassword = Factory();
        wrongPassword.Password = "not the password";
        var error = Unreachable(wrongPassword);
        Checks.Check("a wrong password is refused", error is PossibleAuthenticationFailureException);
        Checks.Cannot("with 403", TooOld + "authentication_failure_close, so the broker just hangs up");

        var unknownVhost = Factory();
        unknownVhost.VirtualHost = "interop.not.there";
        var refused = (OperationInterruptedException)Unreachable(unknownVhost);
        Checks.Check("an unknown vhost is refused", (int)refused.ShutdownReason.ReplyCode, 530);
    }

    /// <summary>The error of the only endpoint there is.</summary>
    private static Exception Unreachable(ConnectionFactory factory)
    {
        try
        {
            factory.CreateConnection().Close();
            return null;
        }
        catch (BrokerUnreachableException error)
        {
            return error.ConnectionErrors.Values.Cast<Exception>().Single();
        }
    }

    private static void Declare()
    {
        using (var connection = Factory().CreateConnection())
        {
            var model = connection.CreateModel();
            foreach (var time in new[] { "declared", "declared again the same way" })
            {
                model.ExchangeDeclare("interop.direct", ExchangeType.Direct, true);
                Checks.Check("queue " + time, model.QueueDeclare("interop.q", true), "interop.q");
            }
            model.QueueBind("interop.q", "interop.direct", "key", false, null);
            foreach (var body in new[] { "m0", "m1", "m2" })
            {
                model.BasicPublish("interop.direct", "key", null, Bytes(body));
            }
            Checks.Check("passive declaration", Passive(model, "interop.q"), "interop.q");
            Checks.Cannot("it tells messages and consumers", "this client's QueueDeclare returns the name only");
            Checks.Check("what is not there: 404", Refused(connection, one => Passive(one, "interop.absent")), 404);
            Checks.Check("no such exchange: 404",
                Refused(connection, one => PassiveExchange(one, "interop.absent")), 404);
            Checks.Check("404 closes the channel only", connection.IsOpen && model.IsOpen);
            Checks.Check("another durability: 406",
                Refused(connection, one => one.QueueDeclare("interop.q", false)), 406);
            var limited = new Hashtable { { "x-max-length", 5 } };
            Checks.Check("another argument: 406",
                Refused(connection, one => one.QueueDeclare("interop.q", false, true, false, false, false, limited)),
                406);

            model.QueueUnbind("interop.q", "interop.direct", "key", null);
            model.BasicPublish("interop.direct", "key", null, Bytes("nowhere"));
            Checks.Check("nothing comes after unbind; purge tells the number",
                model.QueuePurge("interop.q", false), 3u);
            model.BasicPublish("", "interop.q", null, Bytes("last"));
            Checks.Check("delete tells the number", model.QueueDelete("interop.q", false, false, false), 1u);
            Checks.Check("deleting a queue twice is fine", model.QueueDelete("interop.q", false, false, false), 0u);
            model.ExchangeDelete("interop.direct", false, false);
            model.ExchangeDelete("interop.direct", false, false);
            Checks.Check("deleting an exchange twice is fine", model.IsOpen);
        }
        var closing = Factory().CreateConnection();
        Checks.Check("unknown exchange type: 503",
            Refused(closing, one => one.ExchangeDeclare("interop.odd", "no-such-type")), 503);
        Checks.WaitFor("503 closes the connection", () => !closing.IsOpen);
    }

    // ---- publishing

    private static void MandatoryReturn()
    {
        OnModel(model =>
        {
            model.ExchangeDeclare("interop.direct", ExchangeType.Direct);
            var returned = new RabbitMQ.Util.SharedQueue();
            model.BasicReturn += (sender, message) => returned.Enqueue(message);
            var properties = model.CreateBasicProperties();
            properties.MessageId = "id-1";
            properties.ContentType = "text/plain";
            properties.Headers = new Hashtable { { "kind", "lost" } };
            model.BasicPublish("interop.direct", "nobody", true, false, properties, Bytes("come back"));
            var seen = Next<BasicReturnEventArgs>(returned);
            Checks.Check("it says 312 NO_ROUTE", $"{seen.ReplyCode} {seen.ReplyText}", "312 NO_ROUTE");
            Checks.Check("exchange and routing key", $"{seen.Exchange} {seen.RoutingKey}", "interop.direct nobody");
            Checks.Check("body", Text(seen.Body), "come back");
            Checks.Check("message id", seen.BasicProperties.MessageId, "id-1");
            Checks.Check("content type", seen.BasicProperties.ContentType, "text/plain");
            Checks.Check("headers", seen.BasicProperties.Headers, new Hashtable { { "kind", Bytes("lost") } });
            Checks.Cannot("before its confirm", TooOld + "publisher confirms");
            model.ExchangeDelete("interop.direct", false, false);
        });
    }

    // ---- receiving

    private static void Consume()
    {
        using (var connection = Factory().CreateConnection())
        {
            var model = connection.CreateModel();
            model.QueueDeclare("interop.consume");
            foreach (var number in Enumerable.Range(0, 10))
            {
                model.BasicPublish("", "interop.consume", null, Bytes("m" + number));
            }
            model.BasicQos(0, 3, false);
            var consumer = new QueueingBasicConsumer(model);
            var tag = model.BasicConsume("interop.consume", null, consumer);
            var first = Enumerable.Range(0, 3).Select(_ => Delivered(consumer)).ToList();
            Checks.Check("three are delivered", first.Select(one => Text(one.Body)).ToList(),
                new List<string> { "m0", "m1", "m2" });
            Checks.Check("no fourth until an ack", Quiet(consumer));
            model.BasicAck(first[1].DeliveryTag, true);
            Checks.Check("ack with multiple makes room", Text(Delivered(consumer).Body), "m3");
            Checks.Check("for two", Text(Delivered(consumer).Body), "m4");
            Checks.Check("and for no third", Quiet(consumer));
            model.BasicReject(first[2].DeliveryTag, true);
            var again = Delivered(consumer);
            Checks.Check("reject with requeue: it comes again", Text(again.Body), "m2");
            Checks.Check("redelivered", again.Redelivered);
            Checks.Cannot("nack with requeue", TooOld + "basic.nack");
            model.BasicReject(again.DeliveryTag, false);
            var behind = Delivered(consumer);
            Checks.Check("reject without requeue: the next one comes", Text(behind.Body), "m5");
            Checks.Check("not redelivered", behind.Redelivered, false);
            model.BasicCancel(tag);
            model.Close();

            var later = connection.CreateModel();
            Checks.WaitFor("cancelled, what was not acknowledged is there again",
                () => Messages(later, "interop.consume") == 7);
            var head = later.BasicGet("interop.consume", false);
            Checks.Check("at the head", Text(head.Body), "m3");
            Checks.Check("and redelivered", head.Redelivered);
            later.QueueDelete("interop.consume", false, false, false);
        }
    }

    private static void Get()
    {
        OnModel(model =>
        {
            model.ExchangeDeclare("interop.direct", ExchangeType.Direct);
            model.QueueDeclare("interop.get");
            model.QueueBind("interop.get", "interop.direct", "key", false, null);
            Checks.Check("an empty queue says so", model.BasicGet("interop.get", true), null);
            model.BasicPublish("interop.direct", "key", null, Bytes("first"));
            model.BasicPublish("interop.direct", "key", null, Bytes("second"));
            var first = model.BasicGet("interop.get", false);
            Checks.Check("body", Text(first.Body), "first");
            Checks.Check("exchange and routing key", $"{first.Exchange} {first.RoutingKey}", "interop.direct key");
            Checks.Check("not redelivered", first.Redelivered, false);
            Checks.Check("messages left", first.MessageCount, 1u);
            model.BasicReject(first.DeliveryTag, true);
            var again = model.BasicGet("interop.get", false);
            Checks.Check("requeued, it comes again", Text(again.Body), "first");
            Checks.Check("redelivered", again.Redelivered);
            model.BasicAck(again.DeliveryTag, false);
            Checks.Check("get without ack", Text(model.BasicGet("interop.get", true).Body), "second");
            Checks.Check("all are gone", model.BasicGet("interop.get", true), null);
            model.QueueDelete("interop.get", false, false, false);
            model.ExchangeDelete("interop.direct", false, false);
        });
    }

    private static void Exclusive()
    {
        using (var other = Factory().CreateConnection())
        {
            var owner = Factory().CreateConnection();
            var queue = OwnQueue(owner.CreateModel(), "", null);
            Checks.Check("the server names it", queue.StartsWith("amq.gen-"));
            Checks.Check("another connection is refused: 405", Refused(other, one => Passive(one, queue)), 405);
            owner.Close();
            Checks.WaitFor("gone with its connection: 404", () => Refused(other, one => Passive(one, queue)) == 404);

            var model = other.CreateModel();
            model.QueueDeclare("interop.single");
            model.BasicConsume("interop.single", true, "", false, true, null, new QueueingBasicConsumer(model));
            Checks.Check("a second consumer is refused: 403",
                Refused(other, one => one.BasicConsume("interop.single", null, new QueueingBasicConsumer(one))), 403);
            model.QueueDelete("interop.single", false, false, false);
        }
    }

    private static void AutoDelete()
    {
        using (var connection = Factory().CreateConnection())
        {
            var model = connection.CreateModel();
            model.QueueDeclare("interop.auto", false, false, false, true, false, null);
            var first = model.BasicConsume("interop.auto", null, new QueueingBasicConsumer(model));
            var second = model.BasicConsume("interop.auto", null, new QueueingBasicConsumer(model));
            model.BasicCancel(first);
            Checks.Check("the queue stays with a consumer",
                Refused(connection, one => Passive(one, "interop.auto")), 0);
            model.BasicCancel(second);
            Checks.WaitFor("it goes with its last consumer",
                () => Refused(connection, one => Passive(one, "interop.auto")) == 404);

            var bound = OwnQueue(model, "", null);
            model.ExchangeDeclare("interop.auto", ExchangeType.Fanout, false, false, true, false, false, null);
            model.QueueBind(bound, "interop.auto", "one", false, null);
            model.QueueBind(bound, "interop.auto", "two", false, null);
            model.QueueUnbind(bound, "interop.auto", "one", null);
            Checks.Check("the exchange stays with a binding",
                Refused(connection, one => PassiveExchange(one, "interop.auto")), 0);
            model.QueueUnbind(bound, "interop.auto", "two", null);
            Checks.Check("it goes with its last binding",
                Refused(connection, one => PassiveExchange(one, "interop.auto")), 404);
        }
    }
}
