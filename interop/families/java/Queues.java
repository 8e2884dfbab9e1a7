package interop;

import static interop.Broker.DEFAULT;
import static interop.Broker.awaitMessage;
import static interop.Broker.bytes;
import static interop.Broker.code;
import static interop.Broker.drained;
import static interop.Broker.expiring;
import static interop.Broker.factory;
import static interop.Broker.longString;
import static interop.Broker.onChannel;
import static interop.Broker.refusedOn;
import static interop.Broker.text;
import static interop.Broker.with;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.ShutdownSignalException;
import com.rabbitmq.client.StringRpcServer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** What queues do by their arguments, and what RabbitMQ adds for consumers: replies, large bodies. */
final class Queues {
    private Queues() {}

    static void deadLetter() throws Exception {
        onChannel(channel -> {
            channel.exchangeDeclare("interop.dlx", BuiltinExchangeType.DIRECT);
            channel.queueDeclare("interop.dead", false, false, false, null);
            channel.queueBind("interop.dead", "interop.dlx", "dead");
            Map<String, Object> toDead =
                Map.of("x-dead-letter-exchange", "interop.dlx", "x-dead-letter-routing-key", "dead");

            channel.queueDeclare("interop.rejected", false, false, false, toDead);
            channel.basicPublish(DEFAULT, "interop.rejected", null, bytes("rejected"));
            channel.basicReject(channel.basicGet("interop.rejected", false).getEnvelope().getDeliveryTag(), false);
            checkDeath(channel, "rejected");

            channel.queueDeclare("interop.expired", false, false, false, with(toDead, "x-message-ttl", 50));
            channel.basicPublish(DEFAULT, "interop.expired", null, bytes("expired"));
            checkDeath(channel, "expired");

            channel.queueDeclare("interop.maxlen", false, false, false, with(toDead, "x-max-length", 1));
            channel.basicPublish(DEFAULT, "interop.maxlen", null, bytes("maxlen"));
            channel.basicPublish(DEFAULT, "interop.maxlen", null, bytes("stays"));
            checkDeath(channel, "maxlen");

            for (String queue : List.of("rejected", "expired", "maxlen", "dead")) {
                channel.queueDelete("interop." + queue);
            }
            channel.exchangeDelete("interop.dlx");
            twice(channel);
        });
    }

    /** A message that queue {@code interop.<reason>} dropped for this reason, whose body it is, is in interop.dead. */
    private static void checkDeath(Channel channel, String reason) throws Exception {
        GetResponse message = awaitMessage(channel, "interop.dead");
        Checks.check(reason + ": body", text(message.getBody()), reason);
        Checks.check(reason + ": routing key", message.getEnvelope().getRoutingKey(), "dead");
        Map<String, Object> headers = message.getProps().getHeaders();
        List<?> deaths = (List<?>) headers.get("x-death");
        Checks.check(reason + ": one x-death", deaths.size(), 1);
        Map<?, ?> death = (Map<?, ?>) deaths.get(0);
        Checks.check(reason + ": count", death.get("count"), 1L);
        Checks.check(reason + ": reason", death.get("reason"), longString(reason));
        Checks.check(reason + ": queue", death.get("queue"), longString("interop." + reason));
        Checks.check(reason + ": exchange", death.get("exchange"), longString(""));
        Checks.check(reason + ": routing-keys", death.get("routing-keys"), List.of(longString("interop." + reason)));
        long age = Math.abs(System.currentTimeMillis() - ((Date) death.get("time")).getTime());
        Checks.check(reason + ": time is now", age < Checks.PATIENCE.toMillis());
        Map<String, String> first = Map.of("reason", reason, "queue", "interop." + reason, "exchange", "");
        first.forEach((what, value) -> {
            String name = "x-first-death-" + what;
            Checks.check(reason + ": " + name, headers.get(name), longString(value));
        });
    }

    /** The usual retry: rejected messages wait in a queue whose time to live brings them back. */
    private static void twice(Channel channel) throws Exception {
        channel.queueDeclare("interop.work", false, true, false,
            Map.of("x-dead-letter-exchange", DEFAULT, "x-dead-letter-routing-key", "interop.retry"));
        channel.queueDeclare("interop.retry", false, true, false,
            Map.of("x-dead-letter-exchange", DEFAULT, "x-dead-letter-routing-key", "interop.work",
                "x-message-ttl", 50));
        channel.basicPublish(DEFAULT, "interop.work", null, bytes("retried"));
        for (int attempt = 0; attempt < 2; attempt++) {
            channel.basicReject(awaitMessage(channel, "interop.work").getEnvelope().getDeliveryTag(), false);
        }
        GetResponse message = awaitMessage(channel, "interop.work");
        List<String> deaths = new ArrayList<>();
        for (Object one : (List<?>) message.getProps().getHeaders().get("x-death")) {
            Map<?, ?> death = (Map<?, ?>) one;
            deaths.add(death.get("queue") + " " + death.get("reason") + " " + death.get("count"));
        }
        Checks.check("twice by the same queue counts 2", deaths,
            List.of("interop.retry expired 2", "interop.work rejected 2"));
    }

    static void ttl() throws Exception {
        try (Connection connection = factory().newConnection()) {
            Channel channel = connection.createChannel();
            Map<String, Integer> ttls = Map.of("interop.short", 400, "interop.long", 60_000);
            for (Map.Entry<String, Integer> queue : ttls.entrySet()) {
                channel.queueDeclare(queue.getKey(), false, true, false, Map.of("x-message-ttl", queue.getValue()));
            }
            channel.basicPublish(DEFAULT, "interop.short", null, bytes("the queue's"));
            channel.basicPublish(DEFAULT, "interop.short", expiring("60000"), bytes("the queue's is smaller"));
            channel.basicPublish(DEFAULT, "interop.long", expiring("400"), bytes("its own is smaller"));
            channel.basicPublish(DEFAULT, "interop.long", null, bytes("stays"));
            Checks.waitFor("they are there at first", () ->
                channel.messageCount("interop.short") == 2 && channel.messageCount("interop.long") == 2);
            Checks.waitFor("x-message-ttl ends messages", () -> channel.messageCount("interop.short") == 0);
            Checks.waitFor("expiration ends a message", () -> channel.messageCount("interop.long") == 1);
            Checks.check("and only that", text(channel.basicGet("interop.long", true).getBody()), "stays");

            channel.queueDeclare("interop.unused", false, false, false, Map.of("x-expires", 400));
            Checks.check("a queue with x-expires is there at first",
                refusedOn(connection, c -> c.queueDeclarePassive("interop.unused")), 0);
            // Asking for it is use, so ask once it must be gone.
            Thread.sleep(800);
            Checks.check("x-expires deletes it",
                refusedOn(connection, c -> c.queueDeclarePassive("interop.unused")), AMQP.NOT_FOUND);
        }
    }

    static void priority() throws Exception {
        onChannel(channel -> {
            channel.queueDeclare("interop.priority", false, true, false, Map.of("x-max-priority", 10));
            int number = 0;
            for (int priority : new int[] {1, 5, 3, 0, 9, 5}) {
                var properties = new AMQP.BasicProperties.Builder().priority(priority).build();
                channel.basicPublish(DEFAULT, "interop.priority", properties, bytes(priority + " as number " + number));
                number++;
            }
            channel.basicPublish(DEFAULT, "interop.priority", null, bytes("none"));
            Checks.check("by priority, equal ones in order", drained(channel, "interop.priority"),
                List.of("9 as number 4", "5 as number 1", "5 as number 5", "3 as number 2", "1 as number 0",
                    "0 as number 3", "none"));
        });
    }

    static void directReplyTo() throws Exception {
        try (Connection serving = factory().newConnection(); Connection asking = factory().newConnection()) {
            Channel serverChannel = serving.createChannel();
            serverChannel.queueDeclare("interop.rpc", false, true, false, null);
            StringRpcServer server = new StringRpcServer(serverChannel, "interop.rpc") {
                @Override
                public String handleStringCall(String request, AMQP.BasicProperties replyProperties) {
                    return "answer to " + request;
                }
            };
            Thread loop = new Thread(() -> serve(server), "rpc-server");
            loop.start();
            int timeout = (int) Checks.PATIENCE.toMillis();
            RpcClient client = new RpcClient(asking.createChannel(), DEFAULT, "interop.rpc", timeout);
            List<String> expected = new ArrayList<>();
            List<String> answers = new ArrayList<>();
            for (int number = 0; number < 100; number++) {
                expected.add("answer to " + number);
                answers.add(client.stringCall(String.valueOf(number)));
            }
            Checks.check("100 calls, each its own answer", answers, expected);
            client.close();
            server.terminateMainloop();
            loop.join(Checks.PATIENCE.toMillis());
        }
    }

    private static void serve(StringRpcServer server) {
        try {
            server.mainloop();
        } catch (IOException | ShutdownSignalException error) {
            error.printStackTrace();
        }
    }

    static void largeMessage() throws Exception {
        onChannel(channel -> {
            int frameMax = channel.getConnection().getFrameMax();
            channel.queueDeclare("interop.large", false, true, false, null);
            for (int size : new int[] {0, frameMax - 8, frameMax - 7, 20 << 20}) {
                byte[] body = new byte[size];
                new Random(size).nextBytes(body);
                channel.basicPublish(DEFAULT, "interop.large", null, body);
                byte[] seen = channel.basicGet("interop.large", true).getBody();
                Checks.check(size + " bytes come back the same", seen, body);
            }
        });
    }
}
