using System;
using System.Collections;
using System.Collections.Generic;
using RabbitMQ.Client;

/// <summary>Properties, header tables, and the exchange that routes by them.</summary>
public static partial class Interop
{
    private static void Headers()
    {
        OnModel(model =>
        {
            var queue = OwnQueue(model, "", null);
            var now = new AmqpTimestamp((long)(DateTime.UtcNow - new DateTime(1970, 1, 1)).TotalSeconds);
            var sent = model.CreateBasicProperties();
            sent.ContentType = "application/json";
            sent.ContentEncoding = "gzip";
            sent.Headers = FieldTypes();
            sent.DeliveryMode = 2;
            sent.Priority = 7;
            sent.CorrelationId = "correlation";
            sent.ReplyTo = "reply";
            sent.Expiration = "60000";
            sent.MessageId = "message";
            sent.Timestamp = now;
            sent.Type = "kind";
            sent.UserId = Factory().UserName;
            sent.AppId = "application";
            sent.ClusterId = "cluster";
            model.BasicPublish("", queue, sent, Bytes("{}"));
            var seen = model.BasicGet(queue, true).BasicProperties;
            Checks.Check("content type", seen.ContentType, "application/json");
            Checks.Check("content encoding", seen.ContentEncoding, "gzip");
            Checks.Check("delivery mode", seen.DeliveryMode, (byte)2);
            Checks.Check("priority", seen.Priority, (byte)7);
            Checks.Check("correlation id", seen.CorrelationId, "correlation");
            Checks.Check("reply to", seen.ReplyTo, "reply");
            Checks.Check("expiration", seen.Expiration, "60000");
            Checks.Check("message id", seen.MessageId, "message");
            Checks.Check("timestamp", seen.Timestamp, now);
            Checks.Check("type", seen.Type, "kind");
            Checks.Check("user id", seen.UserId, sent.UserId);
            Checks.Check("app id", seen.AppId, "application");
            Checks.Check("cluster id", seen.ClusterId, "cluster");
            Checks.Check("as many headers as were sent", seen.Headers.Count, sent.Headers.Count);
            foreach (DictionaryEntry header in sent.Headers)
            {
                Checks.Check("header " + header.Key, seen.Headers[header.Key], header.Value);
            }
            HeadersExchange(model);
        });
    }

    /// <summary>Every type that the client writes, as it reads it: strings are read as bytes.</summary>
    private static Hashtable FieldTypes()
    {
        return new Hashtable
        {
            { "true", true },
            { "false", false },
            { "byte-min", byte.MinValue },
            { "byte-max", byte.MaxValue },
            { "short-min", short.MinValue },
            { "short-max", short.MaxValue },
            { "int-min", int.MinValue },
            { "int-max", int.MaxValue },
            { "long-min", long.MinValue },
            { "long-max", long.MaxValue },
            { "float", 1.5f },
            { "double", Math.PI },
            { "decimal", 1234.56m },
            { "string", Bytes("grüße, 世界 😀") },
            { "empty-string", Bytes("") },
            { "timestamp", new AmqpTimestamp(1700000000) },
            { "null", null },
            { "table", new Hashtable { { "inner", new Hashtable { { "deep", Bytes("down") }, { "number", 1 } } } } },
            { "array", new ArrayList { 1, Bytes("two"), 3L, new ArrayList { true }, new Hashtable { { "four", 4 } } } },
            { "empty-table", new Hashtable() },
            { "empty-array", new ArrayList() },
        };
    }

    private static void HeadersExchange(IModel model)
    {
        model.ExchangeDeclare("interop.match", "headers");
        var queues = new Dictionary<string, string>();
        foreach (var match in new[] { "all", "any" })
        {
            queues[match] = OwnQueue(model, "", null);
            var arguments = new Hashtable { { "x-match", match }, { "format", "pdf" }, { "pages", 3 } };
            model.QueueBind(queues[match], "interop.match", "", false, arguments);
        }
        var messages = new Dictionary<string, Hashtable>
        {
            { "both", new Hashtable { { "format", "pdf" }, { "pages", 3 }, { "more", true } } },
            { "format only", new Hashtable { { "format", "pdf" }, { "pages", 4 } } },
            { "neither", new Hashtable { { "format", "odt" } } },
        };
        foreach (var message in messages)
        {
            var properties = model.CreateBasicProperties();
            properties.Headers = message.Value;
            model.BasicPublish("interop.match", "", properties, Bytes(message.Key));
        }
        Checks.Check("x-match all routes", Drained(model, queues["all"]), new List<string> { "both" });
        Checks.Check("x-match any routes", Drained(model, queues["any"]), new List<string> { "both", "format only" });
        model.ExchangeDelete("interop.match", false, false);
    }
}
