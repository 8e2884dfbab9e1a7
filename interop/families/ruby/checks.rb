# frozen_string_literal: true

require "open3"
require "timeout"

# What a program in Ruby needs: scenarios, checks, and their report in TAP. Include it at the top level.
module Checks
  PATIENCE = 10 # seconds that anything which must come may take

  # Leaves a scenario; the message says what the client, or this broker, lacks.
  class Skip < StandardError; end

  # Numbers the lines and writes them.
  class Report
    attr_writer :scenario

    def initialize(output)
      @output = output
      @count = 0
    end

    def line(passed, what, explanation = "")
      @output.puts "#{passed ? "ok" : "not ok"} #{@count += 1} - #{@scenario}: #{what}"
      explanation.each_line(chomp: true) { |text| @output.puts "# #{text[0, 500]}" } unless passed
    end

    def skipped(reason)
      @output.puts "ok #{@count += 1} - #{@scenario} # SKIP #{reason}"
    end

    def plan
      @output.puts "1..#{@count}"
    end
  end

  $stdout.sync = true
  REPORT = Report.new($stdout)
  SCENARIOS = {}

  def scenario(name, &body)
    SCENARIOS[name] = body
  end

  # Report one check of the scenario that runs: equal, and of the same type.
  def check(what, seen, expected = true)
    REPORT.line(seen.eql?(expected), what, "expected #{expected.inspect}, got #{seen.inspect}")
  end

  # A check that the block is true, now or soon.
  def wait_for(what)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + PATIENCE
    until (met = yield) || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
      sleep 0.01
    end
    REPORT.line(met, what, "not within #{PATIENCE} s")
  end

  # What comes next in a Queue.
  def take(queue)
    Timeout.timeout(PATIENCE, nil, "nothing came") { queue.pop }
  end

  # Whether nothing comes into a Queue for a while.
  def quiet?(queue)
    sleep 0.3
    queue.empty?
  end

  # Act on the broker ("restart", "alarm", "on" ...); skips the scenario when this broker cannot be made to.
  def control(*words)
    command = ENV.fetch("INTEROP_CONTROL") { raise Skip, "no INTEROP_CONTROL: nobody can act on the broker" }
    output, status = Open3.capture2e(command, *words)
    raise Skip, output.strip if status.exitstatus == 3
    raise "#{command} #{words.join(" ")}: #{output}" unless status.success?
  end

  # Run the scenarios in their order and print the report; names on the command line choose some.
  def run(chosen = ARGV)
    SCENARIOS.each do |name, body|
      next unless chosen.empty? || chosen.include?(name)

      REPORT.scenario = name
      body.call
    rescue Skip => reason
      REPORT.skipped(reason.message)
    rescue StandardError => error
      REPORT.line(false, "no exception", "#{error.class}: #{error.message}")
      warn error.full_message
    end
    REPORT.plan
  end
end
