package interop;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.LongString;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;
import com.rabbitmq.client.impl.LongStringHelper;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.TimeUnit;

/** The broker under test, and short ways to it that the scenarios share. */
final class Broker {
    static final String DEFAULT = ""; // the exchange that routes by the queue's name
    static final Duration QUIET = Duration.ofMillis(300); // nothing more comes when nothing came for so long
    static final AMQP.BasicProperties PERSISTENT = MessageProperties.MINIMAL_PERSISTENT_BASIC;

    private Broker() {}

    @FunctionalInterface
    interface ChannelBody {
        void run(Channel channel) throws Exception;
    }

    static ConnectionFactory factory() throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(System.getenv("AMQP_URL"));
        factory.setAutomaticRecoveryEnabled(false); // on by default; only one scenario is about it
        return factory;
    }

    static void onChannel(ChannelBody body) throws Exception {
        try (Connection connection = factory().newConnection()) {
            body.run(connection.createChannel());
        }
    }

    /** The reply code with which the broker refuses; 0 when it does not. */
    static int refused(Checks.Body body) throws Exception {
        try {
            body.run();
            return 0;
        } catch (IOException error) {
            if (error.getCause() instanceof ShutdownSignalException signal) {
                return code(signal);
            }
            throw error;
        } catch (AlreadyClosedException signal) {
            return code(signal);
        }
    }

    /** {@code refused} on a channel of its own, as a refusal closes it. */
    static int refusedOn(Connection connection, ChannelBody body) throws Exception {
        Channel channel = connection.createChannel();
        int code = refused(() -> body.run(channel));
        channel.abort();
        return code;
    }

    static int code(ShutdownSignalException signal) {
        if (signal.getReason() instanceof AMQP.Channel.Close close) {
            return close.getReplyCode();
        }
        return ((AMQP.Connection.Close) signal.getReason()).getReplyCode();
    }

    static GetResponse awaitMessage(Channel channel, String queue) throws Exception {
        long deadline = System.nanoTime() + Checks.PATIENCE.toNanos();
        while (System.nanoTime() < deadline) {
            GetResponse message = channel.basicGet(queue, false);
            if (message != null) {
                return message;
            }
            Thread.sleep(10);
        }
        throw new AssertionError("nothing came to " + queue);
    }

    /** The bodies of all that is in a queue, taken out in order. */
    static List<String> drained(Channel channel, String queue) throws IOException {
        List<String> bodies = new ArrayList<>();
        for (GetResponse one; (one = channel.basicGet(queue, true)) != null; ) {
            bodies.add(text(one.getBody()));
        }
        return bodies;
    }

    static <T> T next(BlockingQueue<T> arrived) throws InterruptedException {
        T one = arrived.poll(Checks.PATIENCE.toMillis(), TimeUnit.MILLISECONDS);
        return Objects.requireNonNull(one, "nothing came");
    }

    static boolean quiet(BlockingQueue<?> arrived) throws InterruptedException {
        return arrived.poll(QUIET.toMillis(), TimeUnit.MILLISECONDS) == null;
    }

    static Map<String, Object> with(Map<String, Object> arguments, String name, Object value) {
        Map<String, Object> more = new HashMap<>(arguments);
        more.put(name, value);
        return more;
    }

    static AMQP.BasicProperties expiring(String milliseconds) {
        return new AMQP.BasicProperties.Builder().expiration(milliseconds).build();
    }

    static byte[] bytes(String text) {
        return text.getBytes(UTF_8);
    }

    static String text(byte[] body) {
        return new String(body, UTF_8);
    }

    static String text(Delivery message) {
        return text(message.getBody());
    }

    static LongString longString(String text) {
        return LongStringHelper.asLongString(text);
    }
}
