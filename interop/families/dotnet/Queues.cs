using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;

/// <summary>What queues do by their arguments, and what RabbitMQ adds for consumers: replies, large bodies.</summary>
public static partial class Interop
{
    private static void DeadLetter()
    {
        OnModel(model =>
        {
            model.ExchangeDeclare("interop.dlx", ExchangeType.Direct);
            var dead = OwnQueue(model, "", null);
            model.QueueBind(dead, "interop.dlx", "dead", false, null);

            OwnQueue(model, "interop.rejected", DeadLettered("interop.dlx", "dead"));
            model.BasicPublish("", "interop.rejected", null, Bytes("rejected"));
            model.BasicReject(AwaitMessage(model, "interop.rejected").DeliveryTag, false);
            CheckDeath(model, dead, "rejected");

            OwnQueue(model, "interop.expired", DeadLettered("interop.dlx", "dead", "x-message-ttl", 50));
            model.BasicPublish("", "interop.expired", null, Bytes("expired"));
            CheckDeath(model, dead, "expired");

            OwnQueue(model, "interop.maxlen", DeadLettered("interop.dlx", "dead", "x-max-length", 1));
            model.BasicPublish("", "interop.maxlen", null, Bytes("maxlen"));
            model.BasicPublish("", "interop.maxlen", null, Bytes("stays"));
            CheckDeath(model, dead, "maxlen");
            model.ExchangeDelete("interop.dlx", false, false);

            // The usual retry: rejected messages wait in a queue whose time to live brings them back.
            OwnQueue(model, "interop.work", DeadLettered("", "interop.retry"));
            OwnQueue(model, "interop.retry", DeadLettered("", "interop.work", "x-message-ttl", 50));
            model.BasicPublish("", "interop.work", null, Bytes("retried"));
            model.BasicReject(AwaitMessage(model, "interop.work").DeliveryTag, false);
            model.BasicReject(AwaitMessage(model, "interop.work").DeliveryTag, false);
            var deaths = (IList)AwaitMessage(model, "interop.work").BasicProperties.Headers["x-death"];
            var told = deaths.Cast<IDictionary>()
                .Select(death => $"{Text(death["queue"])} {Text(death["reason"])} {death["count"]}").ToList();
            Checks.Check("twice by the same queue counts 2", told,
                new List<string> { "interop.retry expired 2", "interop.work rejected 2" });
        });
    }

    private static Hashtable DeadLettered(string exchange, string key, string more = null, object value = null)
    {
        var arguments = new Hashtable { { "x-dead-letter-exchange", exchange }, { "x-dead-letter-routing-key", key } };
        if (more != null)
        {
            arguments[more] = value;
        }
        return arguments;
    }

    /// <summary>A message that queue interop.REASON dropped for this reason, whose body it is, comes to the
    /// dead-letter queue.</summary>
    private static void CheckDeath(IModel model, string dead, string reason)
    {
        var message = AwaitMessage(model, dead);
        Checks.Check($"{reason}: body and routing key", $"{Text(message.Body)} {message.RoutingKey}", $"{reason} dead");
        var headers = message.BasicProperties.Headers;
        var deaths = (IList)headers["x-death"];
        Checks.Check($"{reason}: one x-death", deaths.Count, 1);
        var death = (IDictionary)deaths[0];
        Checks.Check($"{reason}: count", death["count"], 1L);
        Checks.Check($"{reason}: reason", death["reason"], Bytes(reason));
        Checks.Check($"{reason}: queue", death["queue"], Bytes("interop." + reason));
        Checks.Check($"{reason}: exchange", death["exchange"], Bytes(""));
        Checks.Check($"{reason}: routing-keys", death["routing-keys"], new ArrayList { Bytes("interop." + reason) });
        var time = new DateTime(1970, 1, 1).AddSeconds(((AmqpTimestamp)death["time"]).UnixTime);
        Checks.Check($"{reason}: time is now", (DateTime.UtcNow - time).Duration() < Checks.Patience);
        Checks.Check($"{reason}: x-first-death-reason", headers["x-first-death-reason"], Bytes(reason));
        Checks.Check($"{reason}: x-first-death-queue", headers["x-first-death-queue"], Bytes("interop." + reason));
        Checks.Check($"{reason}: x-first-death-exchange", headers["x-first-death-exchange"], Bytes(""));
    }

    private static void Ttl()
    {
        using (var connection = Factory().CreateConnection())
        {
            var model = connection.CreateModel();
            var brief = OwnQueue(model, "", new Hashtable { { "x-message-ttl", 400 } });
            var lasting = OwnQueue(model, "", new Hashtable { { "x-message-ttl", 60000 } });
            model.BasicPublish("", brief, null, Bytes("the queue's"));
            model.BasicPublish("", brief, Expiring(model, "60000"), Bytes("the queue's is smaller"));
            model.BasicPublish("", lasting, Expiring(model, "400"), Bytes("its own is smaller"));
            model.BasicPublish("", lasting, null, Bytes("stays"));
            Checks.Check("they are there at first", $"{Messages(model, brief)} {Messages(model, lasting)}", "2 2");
            Checks.WaitFor("x-message-ttl ends messages", () => Messages(model, brief) == 0);
            Checks.WaitFor("expiration ends a message", () => Messages(model, lasting) == 1);
            Checks.Check("and only that", Text(model.BasicGet(lasting, true).Body), "stays");

            var unused = new Hashtable { { "x-expires", 400 } };
            model.QueueDeclare("interop.unused", false, false, false, false, false, unused);
            Checks.Check("a queue with x-expires is there at first",
                Refused(connection, one => Passive(one, "interop.unused")), 0);
            Thread.Sleep(800); // asking for it is use, so ask once it must be gone
            Checks.Check("x-expires deletes it", Refused(connection, one => Passive(one, "interop.unused")), 404);
        }
    }

    private static void Priority()
    {
        OnModel(model =>
        {
            var queue = OwnQueue(model, "", new Hashtable { { "x-max-priority", 10 } });
            var number = 0;
            foreach (byte priority in new byte[] { 1, 5, 3, 0, 9, 5 })
            {
                var properties = model.CreateBasicProperties();
                properties.Priority = priority;
                model.BasicPublish("", queue, properties, Bytes($"{priority} as {number++}"));
            }
            model.BasicPublish("", queue, null, Bytes("none"));
            Checks.Check("by priority, equal ones in order", Drained(model, queue),
                new List<string> { "9 as 4", "5 as 1", "5 as 5", "3 as 2", "1 as 0", "0 as 3", "none" });
        });
    }

    private static void DirectReplyTo()
    {
        using (var serving = Factory().CreateConnection())
        using (var asking = Factory().CreateConnection())
        {
            var server = serving.CreateModel();
            server.QueueDeclare("interop.rpc", false, false, false, true, false, null);
            var requests = new EventingBasicConsumer { Model = server };
            requests.Received += (sender, request) =>
            {
                var properties = server.CreateBasicProperties();
                properties.CorrelationId = request.BasicProperties.CorrelationId;
                var answer = Bytes("answer to " + Text(request.Body));
                server.BasicPublish("", request.BasicProperties.ReplyTo, properties, answer);
            };
            server.BasicConsume("interop.rpc", true, null, requests);

            var client = asking.CreateModel();
            var replies = new QueueingBasicConsumer(client);
            client.BasicConsume("amq.rabbitmq.reply-to", true, null, replies);
            var answers = new List<string>();
            var expected = new List<string>();
            foreach (var number in Enumerable.Range(0, 100))
            {
                var properties = client.CreateBasicProperties();
                properties.ReplyTo = "amq.rabbitmq.reply-to";
                properties.CorrelationId = "call " + number;
                client.BasicPublish("", "interop.rpc", properties, Bytes(number.ToString()));
                var reply = Delivered(replies);
                answers.Add($"{reply.BasicProperties.CorrelationId}: {Text(reply.Body)}");
                expected.Add($"call {number}: answer to {number}");
            }
            Checks.Check("100 calls, each its own answer", answers, expected);
        }
    }

    private static void LargeMessage()
    {
        using (var connection = Factory().CreateConnection())
        {
            var model = connection.CreateModel();
            var queue = OwnQueue(model, "", null);
            var frameMax = (int)connection.FrameMax;
            foreach (var size in new[] { 0, frameMax - 8, frameMax - 7, 20 << 20 })
            {
                var body = new byte[size];
                new Random(size).NextBytes(body);
                model.BasicPublish("", queue, null, body);
                Checks.Check($"{size} bytes come back the same", model.BasicGet(queue, true).Body, body);
            }
        }
    }
}
