package interop;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** What a program in Java needs: scenarios, checks, and their report in TAP. */
final class Checks {
    static final Duration PATIENCE = Duration.ofSeconds(10); // that anything which must come may take

    @FunctionalInterface
    interface Body {
        void run() throws Exception;
    }

    @FunctionalInterface
    interface Condition {
        boolean holds() throws Exception;
    }

    /** Leaves a scenario; the message says what the client, or this broker, lacks. */
    static final class Skip extends RuntimeException {
        Skip(String reason) {
            super(reason);
        }
    }

    private static final Map<String, Body> scenarios = new LinkedHashMap<>();
    private static String current;
    private static int count;

    private Checks() {}

    static void scenario(String name, Body body) {
        scenarios.put(name, body);
    }

    /** Report one check: equal, and of the same type; arrays by what is in them. */
    static void check(String what, Object seen, Object expected) {
        report(Objects.deepEquals(seen, expected), what, "expected %s, got %s".formatted(show(expected), show(seen)));
    }

    static void check(String what, boolean seen) {
        check(what, seen, true);
    }

    /** A check that the condition holds, now or soon. */
    static void waitFor(String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        boolean met;
        while (!(met = condition.holds()) && System.nanoTime() < deadline) {
            Thread.sleep(10);
        }
        report(met, what, "not within " + PATIENCE.toSeconds() + " s");
    }

    /** Act on the broker ("restart", "alarm", "on" ...); skips the scenario when this broker cannot be made to. */
    static void control(String... words) throws Exception {
        String command = System.getenv("INTEROP_CONTROL");
        if (command == null) {
            throw new Skip("no INTEROP_CONTROL: nobody can act on the broker");
        }
        List<String> line = new ArrayList<>(List.of(command));
        line.addAll(List.of(words));
        Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
        switch (process.waitFor()) {
            case 0 -> { }
            case 3 -> throw new Skip(output);
            default -> throw new IllegalStateException(String.join(" ", line) + ": " + output);
        }
    }

    /** Run the scenarios in their order and print the report; names choose some. */
    static void run(String... names) {
        List<String> chosen = List.of(names);
        scenarios.forEach((name, body) -> {
            if (chosen.isEmpty() || chosen.contains(name)) {
                current = name;
                perform(body);
            }
        });
        System.out.println("1.." + count);
    }

    private static void perform(Body body) {
        try {
            body.run();
        } catch (Skip skip) {
            System.out.printf("ok %d - %s # SKIP %s%n", ++count, current, skip.getMessage());
        } catch (Exception | AssertionError error) {
            report(false, "no exception", error + (error.getCause() == null ? "" : "\ncause: " + error.getCause()));
            error.printStackTrace();
        }
    }

    private static synchronized void report(boolean passed, String what, String explanation) {
        System.out.printf("%s %d - %s: %s%n", passed ? "ok" : "not ok", ++count, current, what);
        if (!passed) {
            for (String line : explanation.lines().toList()) {
                System.out.println("# " + line.substring(0, Math.min(500, line.length())));
            }
        }
    }

    private static String show(Object value) {
        if (value instanceof byte[] bytes) {
            return bytes.length > 100 ? bytes.length + " bytes" : Arrays.toString(bytes);
        }
        return value == null ? "null" : value + " (" + value.getClass().getSimpleName() + ")";
    }
}
