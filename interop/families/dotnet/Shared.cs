using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;
using System.Threading;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;
using RabbitMQ.Client.Exceptions;

/// <summary>What the scenarios share.</summary>
public static partial class Interop
{
    private const int QuietMilliseconds = 300; // nothing more comes when nothing came for so long

    private static ConnectionFactory Factory()
    {
        Func<string, string> variable = Environment.GetEnvironmentVariable;
        return new ConnectionFactory
        {
            HostName = variable("AMQP_HOST"),
            Port = int.Parse(variable("AMQP_PORT")),
            UserName = variable("AMQP_USER"),
            Password = variable("AMQP_PASSWORD"),
            VirtualHost = variable("AMQP_VHOST"),
            Protocol = Protocols.AMQP_0_9,
        };
    }

    private static void OnModel(Action<IModel> body)
    {
        using (var connection = Factory().CreateConnection())
        {
            body(connection.CreateModel());
        }
    }

    /// <summary>The reply code with which the broker refuses what is done on a channel of its own; 0 when it does not.
    /// </summary>
    private static int Refused(IConnection connection, Action<IModel> body)
    {
        var model = connection.CreateModel();
        try
        {
            body(model);
            model.Close();
            return 0;
        }
        catch (OperationInterruptedException error)
        {
            return error.ShutdownReason.ReplyCode;
        }
    }

    private static string Passive(IModel model, string queue)
    {
        return model.QueueDeclare(queue, true, false, false, false, false, null);
    }

    private static void PassiveExchange(IModel model, string exchange)
    {
        model.ExchangeDeclare(exchange, ExchangeType.Fanout, true, false, false, false, false, null);
    }

    /// <summary>A queue that goes with its connection.</summary>
    private static string OwnQueue(IModel model, string name, IDictionary arguments)
    {
        return model.QueueDeclare(name, false, false, true, false, false, arguments);
    }

    private static IBasicProperties Expiring(IModel model, string milliseconds)
    {
        var properties = model.CreateBasicProperties();
        properties.Expiration = milliseconds;
        return properties;
    }

    /// <summary>How many messages are ready. Only basic.get tells this client: it takes one and puts it back.</summary>
    private static uint Messages(IModel model, string queue)
    {
        var message = model.BasicGet(queue, false);
        if (message == null)
        {
            return 0;
        }
        model.BasicReject(message.DeliveryTag, true);
        return message.MessageCount + 1;
    }

    /// <summary>The bodies of all that is in a queue, taken out in order.</summary>
    private static List<string> Drained(IModel model, string queue)
    {
        var bodies = new List<string>();
        for (BasicGetResult message; (message = model.BasicGet(queue, true)) != null;)
        {
            bodies.Add(Text(message.Body));
        }
        return bodies;
    }

    private static BasicGetResult AwaitMessage(IModel model, string queue)
    {
        var deadline = DateTime.UtcNow + Checks.Patience;
        while (DateTime.UtcNow < deadline)
        {
            var message = model.BasicGet(queue, false);
            if (message != null)
            {
                return message;
            }
            Thread.Sleep(10);
        }
        throw new TimeoutException("nothing came to " + queue);
    }

    private static BasicDeliverEventArgs Delivered(QueueingBasicConsumer consumer)
    {
        return Next<BasicDeliverEventArgs>(consumer.Queue);
    }

    private static T Next<T>(RabbitMQ.Util.SharedQueue queue)
    {
        if (!queue.Dequeue((int)Checks.Patience.TotalMilliseconds, out var one))
        {
            throw new TimeoutException("nothing came");
        }
        return (T)one;
    }

    private static bool Quiet(QueueingBasicConsumer consumer)
    {
        return !consumer.Queue.Dequeue(QuietMilliseconds, out _);
    }

    private static byte[] Bytes(string text)
    {
        return Encoding.UTF8.GetBytes(text);
    }

    private static string Text(object bytes)
    {
        return Encoding.UTF8.GetString((byte[])bytes);
    }
}
