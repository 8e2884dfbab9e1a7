package interop;

import static interop.Broker.DEFAULT;
import static interop.Broker.PERSISTENT;
import static interop.Broker.bytes;
import static interop.Broker.drained;
import static interop.Broker.factory;
import static interop.Broker.next;
import static interop.Broker.onChannel;
import static interop.Broker.text;

import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import java.io.IOException;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** What the broker tells of its own accord, and what the client does when it goes. */
final class Notices {
    private Notices() {}

    static void cancelNotify() throws Exception {
        onChannel(channel -> {
            channel.queueDeclare("interop.cancelled", false, false, false, null);
            BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
            String tag = channel.basicConsume("interop.cancelled", (consumer, message) -> { }, cancelled::add);
            Channel other = channel.getConnection().createChannel();
            other.queueDelete("interop.cancelled");
            Checks.check("the application is told which consumer", next(cancelled), tag);
            Checks.check("the channel works on", channel.queueDeclare().getQueue().startsWith("amq.gen-"));
        });
    }

    static void blocked() throws Exception {
        onChannel(channel -> {
            BlockingQueue<String> events = new LinkedBlockingQueue<>();
            channel.getConnection().addBlockedListener(
                reason -> events.add("blocked: " + reason), () -> events.add("unblocked"));
            channel.queueDeclare("interop.blocked", false, true, false, null);
            Checks.control("alarm", "on");
            int published = 0;
            try {
                long deadline = System.nanoTime() + Checks.PATIENCE.toNanos();
                while (events.isEmpty() && System.nanoTime() < deadline) {
                    channel.basicPublish(DEFAULT, "interop.blocked", null, bytes("m" + published++));
                    Thread.sleep(50);
                }
                String event = next(events);
                Checks.check("told that it is blocked, and why", event.matches("blocked: .+"));
                channel.basicPublish(DEFAULT, "interop.blocked", null, bytes("while blocked"));
                published++;
            } finally {
                Checks.control("alarm", "off");
            }
            Checks.check("told that it is not any more", next(events), "unblocked");
            int all = published;
            Checks.waitFor("what was published arrives", () -> channel.messageCount("interop.blocked") == all);
        });
    }

    static void recovery() throws Exception {
        // The client declares again what was declared on a connection that recovers. These the broker must keep.
        onChannel(Notices::declareDurables);
        ConnectionFactory factory = factory();
        factory.setAutomaticRecoveryEnabled(true);
        factory.setNetworkRecoveryInterval(200);
        try (Connection connection = factory.newConnection()) {
            CountDownLatch recovered = new CountDownLatch(1);
            ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
                @Override
                public void handleRecoveryStarted(Recoverable one) {}

                @Override
                public void handleRecovery(Recoverable one) {
                    recovered.countDown();
                }
            });
            Channel channel = connection.createChannel();
            channel.confirmSelect();
            BlockingQueue<Delivery> arrived = new LinkedBlockingQueue<>();
            channel.basicConsume("interop.consumed", true, (tag, message) -> arrived.add(message), tag -> { });
            BlockingQueue<Delivery> byOwnQueue = new LinkedBlockingQueue<>();
            String ownQueue = channel.queueDeclare().getQueue();
            channel.queueBind(ownQueue, "interop.durable", "own");
            channel.basicConsume(ownQueue, true, (tag, message) -> byOwnQueue.add(message), tag -> { });
            channel.basicPublish("interop.durable", "interop.consumed", PERSISTENT, bytes("before"));
            Checks.check("consuming before the restart", text(next(arrived)), "before");

            Checks.control("restart");
            Checks.check("the client recovers by itself",
                recovered.await(Checks.PATIENCE.toMillis(), TimeUnit.MILLISECONDS));
            channel.basicPublish("interop.durable", "interop.consumed", PERSISTENT, bytes("after"));
            channel.waitForConfirmsOrDie(Checks.PATIENCE.toMillis());
            Checks.check("publishing and consuming go on, by the durable exchange, queue and binding",
                text(next(arrived)), "after");
            channel.basicPublish("interop.durable", "own", null, bytes("own"));
            Checks.check("its server-named queue and binding, too", text(next(byOwnQueue)), "own");
            Checks.check("the persistent message is there, the transient one is not",
                drained(channel, "interop.kept"), List.of("persistent"));
        } finally {
            onChannel(Notices::deleteDurables);
        }
    }

    private static void declareDurables(Channel channel) throws Exception {
        channel.confirmSelect();
        channel.exchangeDeclare("interop.durable", BuiltinExchangeType.DIRECT, true);
        for (String queue : List.of("interop.kept", "interop.consumed")) {
            channel.queueDeclare(queue, true, false, false, null);
            channel.queueBind(queue, "interop.durable", queue);
        }
        channel.basicPublish("interop.durable", "interop.kept", PERSISTENT, bytes("persistent"));
        channel.basicPublish("interop.durable", "interop.kept", null, bytes("transient"));
        channel.waitForConfirmsOrDie(Checks.PATIENCE.toMillis());
    }

    private static void deleteDurables(Channel channel) throws IOException {
        channel.queueDelete("interop.kept");
        channel.queueDelete("interop.consumed");
        channel.exchangeDelete("interop.durable");
    }
}
