package interop;

import static interop.Broker.DEFAULT;
import static interop.Broker.bytes;
import static interop.Broker.drained;
import static interop.Broker.factory;
import static interop.Broker.longString;
import static interop.Broker.onChannel;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.LongString;
import java.math.BigDecimal;
import java.time.Instant;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Properties, header tables, and the exchange that routes by them. */
final class Headers {
    private Headers() {}

    static void headers() throws Exception {
        Map<String, Object> table = fieldTypes();
        Date now = Date.from(Instant.ofEpochSecond(Instant.now().getEpochSecond()));
        AMQP.BasicProperties sent = new AMQP.BasicProperties.Builder()
            .contentType("application/json").contentEncoding("gzip").headers(table).deliveryMode(2).priority(7)
            .correlationId("correlation").replyTo("reply").expiration("60000").messageId("message").timestamp(now)
            .type("kind").userId(factory().getUsername()).appId("application").clusterId("cluster").build();
        onChannel(channel -> {
            channel.queueDeclare("interop.headers", false, true, false, null);
            channel.basicPublish(DEFAULT, "interop.headers", sent, bytes("{}"));
            AMQP.BasicProperties seen = channel.basicGet("interop.headers", true).getProps();
            Checks.check("content type", seen.getContentType(), "application/json");
            Checks.check("content encoding", seen.getContentEncoding(), "gzip");
            Checks.check("delivery mode", seen.getDeliveryMode(), 2);
            Checks.check("priority", seen.getPriority(), 7);
            Checks.check("correlation id", seen.getCorrelationId(), "correlation");
            Checks.check("reply to", seen.getReplyTo(), "reply");
            Checks.check("expiration", seen.getExpiration(), "60000");
            Checks.check("message id", seen.getMessageId(), "message");
            Checks.check("timestamp", seen.getTimestamp(), now);
            Checks.check("type", seen.getType(), "kind");
            Checks.check("user id", seen.getUserId(), factory().getUsername());
            Checks.check("app id", seen.getAppId(), "application");
            Checks.check("cluster id", seen.getClusterId(), "cluster");
            Checks.check("as many headers as were sent", seen.getHeaders().keySet(), table.keySet());
            table.forEach((name, value) -> Checks.check("header " + name, seen.getHeaders().get(name), value));
        });
        headersExchange();
    }

    /** Every type that the client writes, as the client reads it: strings are read as LongString. */
    private static Map<String, Object> fieldTypes() {
        Map<String, Object> table = new LinkedHashMap<>();
        table.put("true", true);
        table.put("false", false);
        table.put("byte-min", Byte.MIN_VALUE);
        table.put("byte-max", Byte.MAX_VALUE);
        table.put("short-min", Short.MIN_VALUE);
        table.put("short-max", Short.MAX_VALUE);
        table.put("int-min", Integer.MIN_VALUE);
        table.put("int-max", Integer.MAX_VALUE);
        table.put("long-min", Long.MIN_VALUE);
        table.put("long-max", Long.MAX_VALUE);
        table.put("float", 1.5f);
        table.put("double", Math.PI);
        table.put("decimal", new BigDecimal("1234.56"));
        table.put("string", longString("grüße, 世界 \uD83D\uDE00"));
        table.put("empty-string", longString(""));
        table.put("bytes", new byte[] {0, 1, (byte) 0xff});
        table.put("date", Date.from(Instant.ofEpochSecond(1_700_000_000)));
        table.put("null", null);
        table.put("table", Map.of("inner", Map.of("deep", longString("down"), "number", 1)));
        table.put("array", List.of(1, longString("two"), 3L, List.of(true), Map.of("four", 4)));
        table.put("empty-table", Map.of());
        table.put("empty-array", List.of());
        return table;
    }

    private static void headersExchange() throws Exception {
        onChannel(channel -> {
            channel.exchangeDeclare("interop.match", BuiltinExchangeType.HEADERS);
            for (String match : List.of("all", "any")) {
                channel.queueDeclare("interop." + match, false, true, false, null);
                channel.queueBind("interop." + match, "interop.match", "",
                    Map.of("x-match", match, "format", "pdf", "pages", 3));
            }
            Map<String, Map<String, Object>> messages = new LinkedHashMap<>();
            messages.put("both", Map.of("format", "pdf", "pages", 3, "more", true));
            messages.put("format only", Map.of("format", "pdf", "pages", 4));
            messages.put("neither", Map.of("format", "odt"));
            for (Map.Entry<String, Map<String, Object>> message : messages.entrySet()) {
                var properties = new AMQP.BasicProperties.Builder().headers(message.getValue()).build();
                channel.basicPublish("interop.match", "", properties, bytes(message.getKey()));
            }
            Checks.check("x-match all routes", drained(channel, "interop.all"), List.of("both"));
            Checks.check("x-match any routes", drained(channel, "interop.any"), List.of("both", "format only"));
            channel.exchangeDelete("interop.match");
        });
    }
}
