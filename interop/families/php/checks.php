<?php

declare(strict_types=1);

// What the programs in PHP share: scenarios, checks, and their report in TAP.

const PATIENCE = 10.0; // seconds that anything which must come may take

ini_set('display_errors', 'stderr');
error_reporting(E_ALL);
set_error_handler(static function (int $level, string $message, string $file, int $line): bool {
    throw new ErrorException($message, 0, $level, $file, $line);
}, E_ALL & ~E_DEPRECATED);

/** Leaves a scenario; the message says what the client, or this broker, lacks. */
final class Skip extends Exception
{
}

final class Report
{
    private static string $scenario = '';
    private static int $count = 0;

    /** Run the scenarios in their order and print the report; names on the command line choose some. */
    public static function run(array $scenarios, array $chosen): void
    {
        foreach ($scenarios as $name => $body) {
            if ($chosen && !in_array($name, $chosen, true)) {
                continue;
            }
            self::$scenario = $name;
            try {
                $body();
            } catch (Skip $skip) {
                self::skip($skip->getMessage());
            } catch (Throwable $error) {
                self::line(false, 'no exception', get_class($error) . ': ' . $error->getMessage());
                fwrite(STDERR, "$error\n");
            }
        }
        echo '1..', self::$count, "\n";
    }

    public static function line(bool $passed, string $what, string $explanation = ''): void
    {
        printf("%s %d - %s: %s\n", $passed ? 'ok' : 'not ok', ++self::$count, self::$scenario, $what);
        foreach ($passed ? [] : explode("\n", $explanation) as $text) {
            echo '# ', substr($text, 0, 500), "\n";
        }
    }

    public static function skip(string $reason, string $what = ''): void
    {
        $name = $what === '' ? self::$scenario : self::$scenario . ": $what";
        printf("ok %d - %s # SKIP %s\n", ++self::$count, $name, $reason);
    }
}

/** Report one check of the scenario that runs: equal, and of the same type; objects by their class and values. */
function check(string $what, mixed $seen, mixed $expected = true): void
{
    $passed = is_object($expected) && is_object($seen) && get_class($seen) === get_class($expected)
        ? var_export($seen, true) === var_export($expected, true)
        : $seen === $expected;
    Report::line($passed, $what, 'expected ' . var_export($expected, true) . ', got ' . var_export($seen, true));
}

/** A part of the scenario that the client cannot do. */
function cannot(string $what, string $reason): void
{
    Report::skip($reason, $what);
}

/** A check that the condition holds, now or soon. */
function wait_for(string $what, callable $condition): void
{
    $deadline = microtime(true) + PATIENCE;
    while (!($met = $condition()) && microtime(true) < $deadline) {
        usleep(10_000);
    }
    Report::line($met, $what, 'not within ' . PATIENCE . ' s');
}

/** Act on the broker ('restart', 'alarm', 'on' ...); skips the scenario when this broker cannot be made to. */
function control(string ...$words): void
{
    $command = getenv('INTEROP_CONTROL');
    if ($command === false) {
        throw new Skip('no INTEROP_CONTROL: nobody can act on the broker');
    }
    exec(implode(' ', array_map('escapeshellarg', [$command, ...$words])) . ' 2>&1', $output, $status);
    if ($status === 3) {
        throw new Skip(implode("\n", $output));
    }
    if ($status !== 0) {
        throw new RuntimeException("$command " . implode(' ', $words) . ': ' . implode("\n", $output));
    }
}
