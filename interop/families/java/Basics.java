package interop;

import static interop.Broker.DEFAULT;
import static interop.Broker.PERSISTENT;
import static interop.Broker.bytes;
import static interop.Broker.code;
import static interop.Broker.drained;
import static interop.Broker.factory;
import static interop.Broker.next;
import static interop.Broker.onChannel;
import static interop.Broker.quiet;
import static interop.Broker.refused;
import static interop.Broker.refusedOn;
import static interop.Broker.text;
import static interop.Broker.with;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.LinkedBlockingQueue;

/** Connections, declarations, publishing, receiving: what every application does. */
final class Basics {
    private Basics() {}

    // ---- connections, and what is refused on them

    static void connect() throws Exception {
        Connection connection = factory().newConnection("interop.connect");
        Map<String, Object> server = connection.getServerProperties();
        Checks.check("the server names a product", !server.get("product").toString().isEmpty());
        Map<?, ?> capabilities = (Map<?, ?>) server.get("capabilities");
        for (String name : List.of("publisher_confirms", "consumer_cancel_notify", "basic.nack")) {
            Checks.check("capability " + name, capabilities.get(name), true);
        }
        Channel channel = connection.createChannel();
        Checks.check("a channel opens", channel.isOpen());
        channel.close();
        Checks.check("the channel closes with 200", code(channel.getCloseReason()), AMQP.REPLY_SUCCESS);
        connection.close();
        Checks.check("the connection closes with 200", code(connection.getCloseReason()), AMQP.REPLY_SUCCESS);
    }

    static void authFailure() throws Exception {
        ConnectionFactory wrongPassword = factory();
        wrongPassword.setPassword("not the password");
        String refusal = "connected";
        try {
            wrongPassword.newConnection().close();
        } catch (AuthenticationFailureException refused) {
            refusal = refused.getMessage().substring(0, "ACCESS_REFUSED".length());
        }
        Checks.check("a wrong password is refused", refusal, "ACCESS_REFUSED");

        ConnectionFactory unknownVhost = factory();
        unknownVhost.setVirtualHost("interop.not.there");
        Checks.check("an unknown vhost is refused",
            refused(() -> unknownVhost.newConnection().close()), AMQP.NOT_ALLOWED);
    }

    static void declare() throws Exception {
        try (Connection connection = factory().newConnection()) {
            Channel channel = connection.createChannel();
            for (String time : List.of("declared", "declared again the same way")) {
                channel.exchangeDeclare("interop.direct", BuiltinExchangeType.DIRECT, true);
                AMQP.Queue.DeclareOk declared = channel.queueDeclare("interop.q", true, false, false, null);
                Checks.check("queue " + time, declared.getQueue(), "interop.q");
            }
            channel.queueBind("interop.q", "interop.direct", "key");
            for (int number = 0; number < 3; number++) {
                channel.basicPublish("interop.direct", "key", null, bytes("m" + number));
            }
            Checks.waitFor("passive declaration tells messages",
                () -> channel.queueDeclarePassive("interop.q").getMessageCount() == 3);
            Checks.check("passive declaration tells consumers",
                channel.queueDeclarePassive("interop.q").getConsumerCount(), 0);

            Channel failing = connection.createChannel();
            Checks.check("what is not there: 404",
                refused(() -> failing.queueDeclarePassive("interop.absent")), AMQP.NOT_FOUND);
            Checks.check("404 closes the channel only", !failing.isOpen() && channel.isOpen());
            Checks.check("no such exchange: 404",
                refusedOn(connection, c -> c.exchangeDeclarePassive("interop.absent")), AMQP.NOT_FOUND);
            Checks.check("another durability: 406",
                refusedOn(connection, c -> c.queueDeclare("interop.q", false, false, false, null)),
                AMQP.PRECONDITION_FAILED);
            Checks.check("another argument: 406",
                refusedOn(connection, c -> c.queueDeclare("interop.q", true, false, false, Map.of("x-max-length", 5))),
                AMQP.PRECONDITION_FAILED);

            channel.queueUnbind("interop.q", "interop.direct", "key");
            channel.basicPublish("interop.direct", "key", null, bytes("nowhere"));
            Checks.check("nothing comes after unbind; purge tells the number",
                channel.queuePurge("interop.q").getMessageCount(), 3);
            channel.basicPublish(DEFAULT, "interop.q", null, bytes("last"));
            Checks.check("delete tells the number", channel.queueDelete("interop.q").getMessageCount(), 1);
            Checks.check("deleting a queue twice is fine", channel.queueDelete("interop.q").getMessageCount(), 0);
            channel.exchangeDelete("interop.direct");
            channel.exchangeDelete("interop.direct");
            Checks.check("deleting an exchange twice is fine", channel.isOpen());
        }
        Connection closing = factory().newConnection();
        Checks.check("unknown exchange type: 503",
            refusedOn(closing, c -> c.exchangeDeclare("interop.odd", "no-such-type")), AMQP.COMMAND_INVALID);
        Checks.waitFor("503 closes the connection", () -> !closing.isOpen());
    }

    // ---- publishing

    static void confirms() throws Exception {
        onChannel(channel -> {
            channel.queueDeclare("interop.confirms", true, false, false, null);
            channel.confirmSelect();
            ConcurrentSkipListSet<Long> outstanding = new ConcurrentSkipListSet<>();
            List<Long> nacked = Collections.synchronizedList(new ArrayList<>());
            channel.addConfirmListener(
                (tag, multiple) -> outstanding.headSet(tag, true).removeIf(one -> multiple || one == tag),
                (tag, multiple) -> nacked.add(tag));
            for (int number = 0; number < 1000; number++) {
                outstanding.add(channel.getNextPublishSeqNo());
                channel.basicPublish(DEFAULT, "interop.confirms", PERSISTENT, bytes("m" + number));
            }
            channel.waitForConfirmsOrDie(Checks.PATIENCE.toMillis());
            Checks.waitFor("each of 1,000 is confirmed", outstanding::isEmpty);
            Checks.check("none is refused", nacked, List.of());
            List<String> expected = new ArrayList<>();
            for (int number = 0; number < 1000; number++) {
                expected.add("m" + number);
            }
            Checks.check("all are in the queue, in order", drained(channel, "interop.confirms"), expected);
            channel.queueDelete("interop.confirms");
        });
    }

    static void mandatoryReturn() throws Exception {
        onChannel(channel -> {
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            channel.exchangeDeclare("interop.direct", BuiltinExchangeType.DIRECT);
            channel.confirmSelect();
            channel.addReturnListener(message -> {
                events.add(message.getReplyCode() + " " + message.getReplyText());
                events.add(message.getExchange() + " " + message.getRoutingKey());
                events.add(text(message.getBody()));
                AMQP.BasicProperties seen = message.getProperties();
                events.add(seen.getMessageId() + " " + seen.getContentType() + " " + seen.getHeaders().get("kind"));
            });
            channel.addConfirmListener(
                (tag, multiple) -> events.add("confirmed"), (tag, multiple) -> events.add("refused"));
            AMQP.BasicProperties properties = new AMQP.BasicProperties.Builder()
                .messageId("id-1").contentType("text/plain").headers(Map.of("kind", "lost")).build();
            channel.basicPublish("interop.direct", "nobody", true, properties, bytes("come back"));
            channel.waitForConfirms(Checks.PATIENCE.toMillis());
            Checks.check("it says 312 NO_ROUTE", next(events), "312 NO_ROUTE");
            Checks.check("exchange and routing key", next(events), "interop.direct nobody");
            Checks.check("body", next(events), "come back");
            Checks.check("properties", next(events), "id-1 text/plain lost");
            Checks.check("the confirm comes behind it", next(events), "confirmed");
            channel.exchangeDelete("interop.direct");
        });
    }

    // ---- receiving

    static void consume() throws Exception {
        try (Connection connection = factory().newConnection()) {
            Channel channel = connection.createChannel();
            channel.queueDeclare("interop.consume", false, false, false, null);
            for (int number = 0; number < 10; number++) {
                channel.basicPublish(DEFAULT, "interop.consume", null, bytes("m" + number));
            }
            channel.basicQos(3);
            BlockingQueue<Delivery> arrived = new LinkedBlockingQueue<>();
            String tag = channel.basicConsume("interop.consume",
                (consumer, message) -> arrived.add(message), consumer -> { });
            List<Delivery> first = List.of(next(arrived), next(arrived), next(arrived));
            Checks.check("three are delivered", first.stream().map(Broker::text).toList(), List.of("m0", "m1", "m2"));
            Checks.check("no fourth until an ack", quiet(arrived));
            channel.basicAck(first.get(1).getEnvelope().getDeliveryTag(), true);
            List<String> more = List.of(text(next(arrived)), text(next(arrived)));
            Checks.check("ack with multiple makes room for two", more, List.of("m3", "m4"));
            Checks.check("and for no third", quiet(arrived));
            channel.basicNack(first.get(2).getEnvelope().getDeliveryTag(), false, true);
            Delivery again = next(arrived);
            Checks.check("nack with requeue: it comes again", text(again), "m2");
            Checks.check("redelivered", again.getEnvelope().isRedeliver());
            channel.basicReject(again.getEnvelope().getDeliveryTag(), false);
            Delivery behind = next(arrived);
            Checks.check("reject without requeue: the next one comes", text(behind), "m5");
            Checks.check("not redelivered", !behind.getEnvelope().isRedeliver());
            channel.basicCancel(tag);
            Checks.check("cancelled: no consumer is left", (int) channel.consumerCount("interop.consume"), 0);
            channel.close();

            Channel later = connection.createChannel();
            Checks.waitFor("what was not acknowledged is there again",
                () -> later.messageCount("interop.consume") == 7);
            GetResponse head = later.basicGet("interop.consume", false);
            Checks.check("at the head", text(head.getBody()), "m3");
            Checks.check("and redelivered", head.getEnvelope().isRedeliver());
            later.queueDelete("interop.consume");
        }
    }

    static void get() throws Exception {
        onChannel(channel -> {
            channel.exchangeDeclare("interop.direct", BuiltinExchangeType.DIRECT);
            channel.queueDeclare("interop.get", false, false, false, null);
            channel.queueBind("interop.get", "interop.direct", "key");
            Checks.check("an empty queue says so", channel.basicGet("interop.get", true), null);
            for (String body : List.of("first", "second")) {
                channel.basicPublish("interop.direct", "key", null, bytes(body));
            }
            GetResponse first = channel.basicGet("interop.get", false);
            Checks.check("body", text(first.getBody()), "first");
            Checks.check("exchange", first.getEnvelope().getExchange(), "interop.direct");
            Checks.check("routing key", first.getEnvelope().getRoutingKey(), "key");
            Checks.check("not redelivered", !first.getEnvelope().isRedeliver());
            Checks.check("messages left", first.getMessageCount(), 1);
            channel.basicReject(first.getEnvelope().getDeliveryTag(), true);
            GetResponse again = channel.basicGet("interop.get", false);
            Checks.check("requeued, it comes again", text(again.getBody()), "first");
            Checks.check("redelivered", again.getEnvelope().isRedeliver());
            channel.basicAck(again.getEnvelope().getDeliveryTag(), false);
            Checks.check("get without ack", text(channel.basicGet("interop.get", true).getBody()), "second");
            Checks.check("all are gone", channel.basicGet("interop.get", true), null);
            channel.queueDelete("interop.get");
            channel.exchangeDelete("interop.direct");
        });
    }

    static void exclusive() throws Exception {
        try (Connection other = factory().newConnection()) {
            Connection owner = factory().newConnection();
            String queue = owner.createChannel().queueDeclare().getQueue();
            Checks.check("the server names it", queue.startsWith("amq.gen-"));
            Checks.check("another connection is refused: 405",
                refusedOn(other, c -> c.queueDeclarePassive(queue)), AMQP.RESOURCE_LOCKED);
            owner.close();
            Checks.waitFor("gone with its connection: 404", () ->
                refusedOn(other, c -> c.queueDeclarePassive(queue)) == AMQP.NOT_FOUND);

            Channel channel = other.createChannel();
            channel.queueDeclare("interop.single", false, false, false, null);
            channel.basicConsume("interop.single", true, "", false, true, null, (tag, message) -> { }, tag -> { });
            Checks.check("a second consumer is refused: 403",
                refusedOn(other, c -> c.basicConsume("interop.single", (tag, message) -> { }, tag -> { })),
                AMQP.ACCESS_REFUSED);
            channel.queueDelete("interop.single");
        }
    }

    static void autoDelete() throws Exception {
        try (Connection connection = factory().newConnection()) {
            Channel channel = connection.createChannel();
            channel.queueDeclare("interop.auto", false, false, true, null);
            String first = channel.basicConsume("interop.auto", (tag, message) -> { }, tag -> { });
            String second = channel.basicConsume("interop.auto", (tag, message) -> { }, tag -> { });
            channel.basicCancel(first);
            Checks.check("the queue stays with a consumer", (int) channel.consumerCount("interop.auto"), 1);
            channel.basicCancel(second);
            Checks.waitFor("it goes with its last consumer", () ->
                refusedOn(connection, c -> c.queueDeclarePassive("interop.auto")) == AMQP.NOT_FOUND);

            channel.queueDeclare("interop.bound", false, true, false, null);
            channel.exchangeDeclare("interop.auto", BuiltinExchangeType.FANOUT, false, true, null);
            channel.queueBind("interop.bound", "interop.auto", "one");
            channel.queueBind("interop.bound", "interop.auto", "two");
            channel.queueUnbind("interop.bound", "interop.auto", "one");
            Checks.check("the exchange stays with a binding",
                refusedOn(connection, c -> c.exchangeDeclarePassive("interop.auto")), 0);
            channel.queueUnbind("interop.bound", "interop.auto", "two");
            Checks.check("it goes with its last binding",
                refusedOn(connection, c -> c.exchangeDeclarePassive("interop.auto")), AMQP.NOT_FOUND);
        }
    }

    static void exchangeBindings() throws Exception {
        onChannel(channel -> {
            channel.exchangeDeclare("interop.topic", BuiltinExchangeType.TOPIC);
            channel.exchangeDeclare("interop.fanout", BuiltinExchangeType.FANOUT);
            channel.queueDeclare("interop.e2e", false, true, false, null);
            channel.exchangeBind("interop.fanout", "interop.topic", "stock.#");
            channel.queueBind("interop.e2e", "interop.fanout", "");
            channel.basicPublish("interop.topic", "weather.rain", null, bytes("other topic"));
            channel.basicPublish("interop.topic", "stock.eu.sap", null, bytes("both"));
            Checks.waitFor("one comes through both", () -> channel.messageCount("interop.e2e") == 1);
            GetResponse message = channel.basicGet("interop.e2e", true);
            Checks.check("the right one", text(message.getBody()), "both");
            Checks.check("with its exchange and key",
                List.of(message.getEnvelope().getExchange(), message.getEnvelope().getRoutingKey()),
                List.of("interop.topic", "stock.eu.sap"));
            channel.exchangeUnbind("interop.fanout", "interop.topic", "stock.#");
            channel.basicPublish("interop.topic", "stock.eu.sap", null, bytes("late"));
            Checks.check("after unbind nothing comes", channel.basicGet("interop.e2e", true), null);
            channel.exchangeDelete("interop.topic");
            channel.exchangeDelete("interop.fanout");
        });
    }
}
