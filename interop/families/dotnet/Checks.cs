using System;
using System.Collections;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Text;
using System.Threading;

/// <summary>Leaves a scenario; the message says what the client, or this broker, lacks.</summary>
public sealed class SkipException : Exception
{
    public SkipException(string reason) : base(reason) { }
}

/// <summary>What a program in C# needs: scenarios, checks, and their report in TAP.</summary>
public static class Checks
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10); // that anything which must come may take

    private static readonly List<KeyValuePair<string, Action>> Scenarios = new List<KeyValuePair<string, Action>>();
    private static string current;
    private static int count;

    public static void Scenario(string name, Action body)
    {
        Scenarios.Add(new KeyValuePair<string, Action>(name, body));
    }

    /// <summary>Report one check: equal, and of the same type; lists, tables and bytes by what is in them.</summary>
    public static void Check(string what, object seen, object expected)
    {
        Report(Equal(seen, expected), what, $"expected {Show(expected)}, got {Show(seen)}");
    }

    public static void Check(string what, bool seen)
    {
        Check(what, seen, true);
    }

    /// <summary>A part of the scenario that the client cannot do.</summary>
    public static void Cannot(string what, string reason)
    {
        Console.WriteLine($"ok {++count} - {current}: {what} # SKIP {reason}");
    }

    /// <summary>A check that the condition holds, now or soon.</summary>
    public static void WaitFor(string what, Func<bool> condition)
    {
        var watch = Stopwatch.StartNew();
        bool met;
        while (!(met = condition()) && watch.Elapsed < Patience)
        {
            Thread.Sleep(10);
        }
        Report(met, what, $"not within {Patience.TotalSeconds} s");
    }

    /// <summary>Act on the broker ("restart", ...); skips the scenario when this broker cannot be made to.</summary>
    public static void Control(string words)
    {
        var command = Environment.GetEnvironmentVariable("INTEROP_CONTROL")
            ?? throw new SkipException("no INTEROP_CONTROL: nobody can act on the broker");
        var start = new ProcessStartInfo(command, words) { UseShellExecute = false, RedirectStandardOutput = true };
        using (var process = Process.Start(start))
        {
            var output = process.StandardOutput.ReadToEnd().Trim();
            process.WaitForExit();
            if (process.ExitCode == 3)
            {
                throw new SkipException(output);
            }
            if (process.ExitCode != 0)
            {
                throw new InvalidOperationException($"{command} {words}: {output}");
            }
        }
    }

    /// <summary>Run the scenarios in their order and print the report; names choose some.</summary>
    public static void Run(string[] names)
    {
        foreach (var scenario in Scenarios.Where(one => names.Length == 0 || names.Contains(one.Key)))
        {
            current = scenario.Key;
            try
            {
                scenario.Value();
            }
            catch (SkipException skip)
            {
                Console.WriteLine($"ok {++count} - {current} # SKIP {skip.Message}");
            }
            catch (Exception error)
            {
                Report(false, "no exception", $"{error.GetType().Name}: {error.Message}");
                Console.Error.WriteLine(error);
            }
        }
        Console.WriteLine($"1..{count}");
    }

    private static void Report(bool passed, string what, string explanation)
    {
        Console.WriteLine($"{(passed ? "ok" : "not ok")} {++count} - {current}: {what}");
        foreach (var line in passed ? new string[0] : explanation.Split('\n'))
        {
            Console.WriteLine("# " + line.Substring(0, Math.Min(500, line.Length)));
        }
    }

    private static bool Equal(object seen, object expected)
    {
        if (seen == null || expected == null || seen.GetType() != expected.GetType())
        {
            return seen == null && expected == null;
        }
        if (seen is IDictionary)
        {
            var one = (IDictionary)seen;
            var other = (IDictionary)expected;
            return one.Count == other.Count
                && one.Keys.Cast<object>().All(key => other.Contains(key) && Equal(one[key], other[key]));
        }
        if (seen is byte[])
        {
            return ((byte[])seen).SequenceEqual((byte[])expected);
        }
        if (seen is IList)
        {
            var one = (IList)seen;
            var other = (IList)expected;
            return one.Count == other.Count && Enumerable.Range(0, one.Count).All(at => Equal(one[at], other[at]));
        }
        return seen.Equals(expected);
    }

    private static string Show(object value)
    {
        if (value is byte[] bytes)
        {
            return bytes.Length > 100 ? $"{bytes.Length} bytes" : $"bytes of '{Encoding.UTF8.GetString(bytes)}'";
        }
        if (value is IDictionary table)
        {
            var entries = table.Keys.Cast<object>().Select(key => $"{key}: {Show(table[key])}");
            return "{" + string.Join(", ", entries) + "}";
        }
        if (value is IList list)
        {
            return "[" + string.Join(", ", list.Cast<object>().Select(Show)) + "]";
        }
        return value == null ? "null" : $"{value} ({value.GetType().Name})";
    }
}
