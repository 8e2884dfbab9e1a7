# frozen_string_literal: true

# Bunny, Ruby's blocking client: objects for exchanges and queues, a thread that runs the consumers' blocks, and the
# client's own recovery.

require "bigdecimal"
require "bunny"
require_relative "checks"

include Checks

# Bunny recovers by default, even when the broker has refused something; only one scenario is about that.
def connected(recover: false, **options)
  connection = Bunny.new(ENV.fetch("AMQP_URL"), log_file: $stderr, automatically_recover: recover,
                                                recover_from_connection_close: recover, **options)
  connection.start
  yield connection
ensure
  connection.close if connection&.open?
end

def on_channel
  connected { |connection| yield connection.create_channel }
end

# The reply code with which the broker refuses what is done on a channel of its own; 0 when it does not.
def refused(connection)
  yield connection.create_channel
  0
rescue Bunny::ChannelLevelException => error
  error.channel_close.reply_code
rescue Bunny::ConnectionLevelException => error
  error.connection_close.reply_code
end

# The bodies of all that is in a queue, taken out in order.
def drained(queue)
  bodies = []
  while (body = queue.pop.last)
    bodies << body
  end
  bodies
end

# The next message of a queue, once there is one: [delivery info, properties, body].
def await_message(queue)
  Timeout.timeout(PATIENCE, nil, "nothing came to #{queue.name}") do
    loop do
      message = queue.pop(manual_ack: true)
      return message if message.first

      sleep 0.01
    end
  end
end

# ---- connections, and what is refused on them

scenario "connect" do
  connection = Bunny.new(ENV.fetch("AMQP_URL"), log_file: $stderr)
  connection.start
  check "the server names a product", connection.server_properties["product"].empty?, false
  %w[publisher_confirms consumer_cancel_notify basic.nack].each do |name|
    check "capability #{name}", connection.server_capabilities[name]
  end
  channel = connection.create_channel
  check "a channel opens", channel.open?
  channel.close
  check "the channel closes", channel.closed?
  connection.close
  check "the connection closes", connection.closed?
end

scenario "auth-failure" do
  wrong = lambda do |options|
    connected(**options) { "connected" }
  rescue Bunny::Exception => error
    error.class
  end
  check "a wrong password is refused", wrong.call(password: "not the password"), Bunny::AuthenticationFailureError
  check "an unknown vhost is refused", wrong.call(vhost: "interop.not.there"), Bunny::NotAllowedError
end

scenario "declare" do
  connected do |connection|
    ["declared", "declared again the same way"].each do |time|
      channel = connection.create_channel
      exchange = channel.direct("interop.direct", durable: true)
      queue = channel.queue("interop.q", durable: true).bind(exchange, routing_key: "key")
      check "queue #{time}", queue.name, "interop.q"
    end
    channel = connection.create_channel
    exchange = channel.direct("interop.direct", durable: true)
    queue = channel.queue("interop.q", durable: true)
    3.times { |number| exchange.publish("m#{number}", routing_key: "key") }
    wait_for("passive declaration tells messages") { queue.message_count == 3 }
    check "passive declaration tells consumers", queue.consumer_count, 0
    check "it is there", connection.queue_exists?("interop.q")
    check "what is not there: 404", refused(connection) { |one| one.queue("interop.absent", passive: true) }, 404
    check "no such exchange: 404", refused(connection) { |one| one.direct("interop.absent", passive: true) }, 404
    check "404 closes the channel only", connection.open? && channel.open?
    check "another durability: 406", refused(connection) { |one| one.queue("interop.q", durable: false) }, 406
    check "another argument: 406",
          refused(connection) { |one| one.queue("interop.q", durable: true, arguments: { "x-max-length" => 5 }) }, 406

    queue.unbind(exchange, routing_key: "key")
    exchange.publish("nowhere", routing_key: "key")
    check "nothing comes after unbind; purge tells the number", channel.queue_purge("interop.q").message_count, 3
    queue.publish("last")
    check "delete tells the number", queue.delete.message_count, 1
    check "deleting a queue twice is fine", channel.queue_delete("interop.q").message_count, 0
    exchange.delete
    channel.exchange_delete("interop.direct")
    check "deleting an exchange twice is fine", channel.open?
  end
  connected do |connection|
    check "unknown exchange type: 503",
          refused(connection) { |one| one.exchange("interop.odd", type: "no-such-type") }, 503
    wait_for("503 closes the connection") { !connection.transport.open? }
  end
end

# ---- publishing

scenario "confirms" do
  on_channel do |channel|
    queue = channel.queue("interop.confirms", durable: true)
    confirmed = []
    channel.confirm_select(->(tag, _multiple, nack) { confirmed << [tag, nack] })
    1000.times { |number| queue.publish("m#{number}", persistent: true) }
    check "none is refused", channel.wait_for_confirms
    check "each of 1,000 is confirmed", confirmed.sort_by(&:first), (1..1000).map { |tag| [tag, false] }
    check "none is outstanding", channel.unconfirmed_set.to_a, []
    check "all are in the queue, in order", drained(queue), (0...1000).map { |number| "m#{number}" }
    queue.delete
  end
end

scenario "mandatory-return" do
  on_channel do |channel|
    events = Queue.new
    exchange = channel.direct("interop.direct")
    exchange.on_return { |info, properties, body| events << [info, properties, body] }
    channel.confirm_select(->(_tag, _multiple, nack) { events << (nack ? :refused : :confirmed) })
    exchange.publish("come back", routing_key: "nobody", mandatory: true, message_id: "id-1",
                                  content_type: "text/plain", headers: { "kind" => "lost" })
    channel.wait_for_confirms
    info, properties, body = take(events)
    check "it says 312 NO_ROUTE", [info.reply_code, info.reply_text], [312, "NO_ROUTE"]
    check "exchange and routing key", [info.exchange, info.routing_key], ["interop.direct", "nobody"]
    check "body", body, "come back"
    check "properties", [properties[:message_id], properties[:content_type], properties[:headers]],
          ["id-1", "text/plain", { "kind" => "lost" }]
    check "the confirm comes behind it", take(events), :confirmed
    exchange.delete
  end
end

# ---- receiving

scenario "consume" do
  connected do |connection|
    channel = connection.create_channel
    queue = channel.queue("interop.consume")
    10.times { |number| queue.publish("m#{number}") }
    channel.prefetch(3)
    arrived = Queue.new
    consumer = queue.subscribe(manual_ack: true) { |info, _properties, body| arrived << [info, body] }
    first = Array.new(3) { take(arrived) }
    check "three are delivered", first.map(&:last), %w[m0 m1 m2]
    check "no fourth until an ack", quiet?(arrived)
    channel.ack(first[1][0].delivery_tag, true)
    check "ack with multiple makes room for two", Array.new(2) { take(arrived).last }, %w[m3 m4]
    check "and for no third", quiet?(arrived)
    channel.nack(first[2][0].delivery_tag, false, true)
    info, body = take(arrived)
    check "nack with requeue: it comes again, redelivered", [body, info.redelivered?], ["m2", true]
    channel.reject(info.delivery_tag, false)
    info, body = take(arrived)
    check "reject without requeue: the next one comes", [body, info.redelivered?], ["m5", false]
    consumer.cancel
    check "cancelled: no consumer is left", queue.consumer_count, 0
    channel.close

    queue = connection.create_channel.queue("interop.consume")
    wait_for("what was not acknowledged is there again") { queue.message_count == 7 }
    info, _properties, body = queue.pop
    check "at the head, redelivered", [body, info.redelivered?], ["m3", true]
    queue.delete
  end
end

scenario "get" do
  on_channel do |channel|
    exchange = channel.direct("interop.direct")
    queue = channel.queue("interop.get").bind(exchange, routing_key: "key")
    check "an empty queue says so", queue.pop, [nil, nil, nil]
    %w[first second].each { |body| exchange.publish(body, routing_key: "key") }
    # Bunny::Queue#pop leaves the number of messages out.
    info, _properties, body = channel.basic_get("interop.get", manual_ack: true)
    check "body", body, "first"
    check "exchange and routing key", [info.exchange, info.routing_key], ["interop.direct", "key"]
    check "not redelivered", info.redelivered, false
    check "messages left", info.message_count, 1
    channel.reject(info.delivery_tag, true)
    info, _properties, body = queue.pop(manual_ack: true)
    check "requeued, it comes again, redelivered", [body, info.redelivered?], ["first", true]
    channel.ack(info.delivery_tag)
    check "get without ack", queue.pop.last, "second"
    check "all are gone", queue.pop, [nil, nil, nil]
    queue.delete
    exchange.delete
  end
end

scenario "exclusive" do
  connected do |other|
    name = nil
    connected do |owner|
      name = owner.create_channel.queue("", exclusive: true).name
      check "the server names it", name.start_with?("amq.gen-")
      check "another connection is refused: 405", refused(other) { |one| one.queue(name, passive: true) }, 405
    end
    wait_for("gone with its connection") { !other.queue_exists?(name) }

    queue = other.create_channel.queue("interop.single")
    queue.subscribe(exclusive: true) { |*| nil }
    check "a second consumer is refused: 403",
          refused(other) { |one| one.queue("interop.single").subscribe { |*| nil } }, 403
    queue.delete
  end
end

scenario "auto-delete" do
  connected do |connection|
    channel = connection.create_channel
    queue = channel.queue("interop.auto", auto_delete: true)
    consumers = Array.new(2) { queue.subscribe { |*| nil } }
    consumers.pop.cancel
    check "the queue stays with a consumer", queue.consumer_count, 1
    consumers.pop.cancel
    wait_for("it goes with its last consumer") { !connection.queue_exists?("interop.auto") }

    exchange = channel.fanout("interop.auto", auto_delete: true)
    bound = channel.queue("", exclusive: true)
    %w[one two].each { |key| bound.bind(exchange, routing_key: key) }
    bound.unbind(exchange, routing_key: "one")
    check "the exchange stays with a binding", connection.exchange_exists?("interop.auto")
    bound.unbind(exchange, routing_key: "two")
    check "it goes with its last binding", connection.exchange_exists?("interop.auto"), false
  end
end

scenario "exchange-bindings" do
  on_channel do |channel|
    topic = channel.topic("interop.topic")
    fanout = channel.fanout("interop.fanout")
    queue = channel.queue("", exclusive: true).bind(fanout)
    fanout.bind(topic, routing_key: "stock.#")
    topic.publish("other topic", routing_key: "weather.rain")
    topic.publish("both", routing_key: "stock.eu.sap")
    info, _properties, body = await_message(queue)
    check "one comes through both, with its exchange and key",
          [body, info.exchange, info.routing_key], ["both", "interop.topic", "stock.eu.sap"]
    check "the other one does not", queue.pop, [nil, nil, nil]
    fanout.unbind(topic, routing_key: "stock.#")
    topic.publish("late", routing_key: "stock.eu.sap")
    check "after unbind nothing comes", queue.pop, [nil, nil, nil]
    [topic, fanout].each(&:delete)
  end
end

# ---- properties and headers

# Every type that the client writes, and what it reads instead where that is another. All integers are written with
# 64 bits; strings are read as bytes. What the client does wrong is left out: a decimal with digits behind the point is
# written as another number, and a boolean at the end of an array is not read.
FIELD_TYPES = {
  "true" => true, "false" => false,
  "integer" => 1, "negative" => -1, "min" => -(2**63), "max" => 2**63 - 1,
  "float32" => [AMQ::Protocol::Float32Bit.new(1.5), 1.5], "float" => Math::PI,
  "decimal" => BigDecimal("1234"),
  "string" => ["grüße, 世界 😀", "grüße, 世界 😀".b], "symbol" => [:symbol, "symbol"], "empty-string" => "",
  "time" => Time.at(1_700_000_000), "nil" => nil,
  "hash" => { "inner" => { "deep" => "down", "number" => 1 } },
  "array" => [1, "two", 3.5, [true, "nested"], { "four" => 4 }],
  "empty-hash" => {}
}.transform_values { |value| value.is_a?(Array) && value.size == 2 ? value : [value, value] }.freeze

scenario "headers" do
  properties = {
    content_type: "application/json", content_encoding: "gzip", delivery_mode: 2, priority: 7,
    correlation_id: "correlation", reply_to: "reply", expiration: "60000", message_id: "message",
    timestamp: Time.now.to_i, type: "kind", user_id: ENV.fetch("AMQP_USER"), app_id: "application"
  }
  on_channel do |channel|
    queue = channel.queue("", exclusive: true)
    queue.publish("{}", **properties, headers: FIELD_TYPES.transform_values(&:first).merge("empty-array" => []))
    seen = await_message(queue)[1]
    properties[:timestamp] = Time.at(properties[:timestamp]) # written as a number, read as a time
    properties.each { |name, value| check name, seen[name], value }
    check "as many headers as were sent", seen.headers.keys, FIELD_TYPES.keys + ["empty-array"]
    FIELD_TYPES.each { |name, (_sent, expected)| check "header #{name}", seen.headers[name], expected }
    check "header empty-array", seen.headers["empty-array"], []

    exchange = channel.headers("interop.match")
    queues = %w[all any].to_h do |match|
      matching = { "x-match" => match, "format" => "pdf", "pages" => 3 }
      [match, channel.queue("", exclusive: true).bind(exchange, arguments: matching)]
    end
    exchange.publish("both", headers: { "format" => "pdf", "pages" => 3, "more" => true })
    exchange.publish("format only", headers: { "format" => "pdf", "pages" => 4 })
    exchange.publish("neither", headers: { "format" => "odt" })
    check "x-match all routes", drained(queues["all"]), ["both"]
    check "x-match any routes", drained(queues["any"]), ["both", "format only"]
    exchange.delete
  end
end

# ---- what queues do by their arguments

# A message that the queue interop.<reason> dropped for this reason, whose body it is, comes to the dead-letter queue.
def check_death(dead, reason)
  info, properties, body = await_message(dead)
  check "#{reason}: body and routing key", [body, info.routing_key], [reason, "dead"]
  deaths = properties.headers["x-death"]
  check "#{reason}: one x-death", deaths.size, 1
  died_at = deaths.first.delete("time")
  check "#{reason}: time is now", (Time.now - died_at).abs < PATIENCE
  check "#{reason}: what x-death says", deaths.first.slice("count", "reason", "queue", "exchange", "routing-keys"),
        { "count" => 1, "reason" => reason, "queue" => "interop.#{reason}", "exchange" => "",
          "routing-keys" => ["interop.#{reason}"] }
  first = %w[reason queue exchange].map { |what| properties.headers["x-first-death-#{what}"] }
  check "#{reason}: x-first-death", first, [reason, "interop.#{reason}", ""]
end

def dead_lettered_to(queue)
  { "x-dead-letter-exchange" => "", "x-dead-letter-routing-key" => queue }
end

scenario "dead-letter" do
  on_channel do |channel|
    exchange = channel.direct("interop.dlx")
    dead = channel.queue("", exclusive: true).bind(exchange, routing_key: "dead")
    to_dead = { "x-dead-letter-exchange" => "interop.dlx", "x-dead-letter-routing-key" => "dead" }

    rejecting = channel.queue("interop.rejected", exclusive: true, arguments: to_dead)
    rejecting.publish("rejected")
    channel.reject(await_message(rejecting).first.delivery_tag)
    check_death(dead, "rejected")

    expiring = to_dead.merge("x-message-ttl" => 50)
    channel.queue("interop.expired", exclusive: true, arguments: expiring).publish("expired")
    check_death(dead, "expired")

    full = channel.queue("interop.maxlen", exclusive: true, arguments: to_dead.merge("x-max-length" => 1))
    %w[maxlen stays].each { |body| full.publish(body) }
    check_death(dead, "maxlen")
    exchange.delete

    # The usual retry: rejected messages wait in a queue whose time to live brings them back.
    work = channel.queue("interop.work", exclusive: true, arguments: dead_lettered_to("interop.retry"))
    channel.queue("interop.retry", exclusive: true,
                                   arguments: dead_lettered_to("interop.work").merge("x-message-ttl" => 50))
    work.publish("retried")
    2.times { channel.reject(await_message(work).first.delivery_tag) }
    deaths = await_message(work)[1].headers["x-death"]
    check "twice by the same queue counts 2", deaths.map { |death| death.values_at("queue", "reason", "count") },
          [["interop.retry", "expired", 2], ["interop.work", "rejected", 2]]
  end
end

scenario "ttl" do
  connected do |connection|
    channel = connection.create_channel
    short, long = { "interop.short" => 400, "interop.long" => 60_000 }.map do |name, ttl|
      channel.queue(name, exclusive: true, arguments: { "x-message-ttl" => ttl })
    end
    short.publish("the queue's")
    short.publish("the queue's is smaller", expiration: "60000")
    long.publish("its own is smaller", expiration: "400")
    long.publish("stays")
    wait_for("they are there at first") { [short, long].map(&:message_count) == [2, 2] }
    wait_for("x-message-ttl ends messages") { short.message_count.zero? }
    wait_for("expiration ends a message") { long.message_count == 1 }
    check "and only that", long.pop.last, "stays"

    channel.queue("interop.unused", arguments: { "x-expires" => 400 })
    check "a queue with x-expires is there at first", connection.queue_exists?("interop.unused")
    sleep 0.8 # asking for it is use, so ask once it must be gone
    check "x-expires deletes it", connection.queue_exists?("interop.unused"), false
  end
end

scenario "priority" do
  on_channel do |channel|
    queue = channel.queue("", exclusive: true, arguments: { "x-max-priority" => 10 })
    [1, 5, 3, 0, 9, 5].each_with_index do |priority, number|
      queue.publish("#{priority} as #{number}", priority: priority)
    end
    queue.publish("none")
    check "by priority, equal ones in order", drained(queue),
          ["9 as 4", "5 as 1", "5 as 5", "3 as 2", "1 as 0", "0 as 3", "none"]
  end
end

scenario "direct-reply-to" do
  connected do |serving|
    answering = serving.create_channel
    requests = answering.queue("interop.rpc", auto_delete: true)
    requests.subscribe do |_info, properties, body|
      answering.default_exchange.publish("answer to #{body}", routing_key: properties.reply_to,
                                                              correlation_id: properties.correlation_id)
    end
    on_channel do |channel|
      replies = Queue.new
      channel.queue("amq.rabbitmq.reply-to", no_declare: true).subscribe do |_info, properties, body|
        replies << [properties.correlation_id, body]
      end
      answers = Array.new(100) do |number|
        channel.default_exchange.publish(number.to_s, routing_key: "interop.rpc", correlation_id: "call #{number}",
                                                      reply_to: "amq.rabbitmq.reply-to")
        take(replies)
      end
      check "100 calls, each its own answer", answers,
            Array.new(100) { |number| ["call #{number}", "answer to #{number}"] }
    end
  end
end

scenario "large-message" do
  on_channel do |channel|
    frame_max = channel.connection.frame_max
    queue = channel.queue("", exclusive: true)
    [0, frame_max - 8, frame_max - 7, 20 << 20].each do |size|
      body = Random.bytes(size)
      queue.publish(body)
      check "#{size} bytes come back the same", await_message(queue).last == body
    end
  end
end

# ---- what the broker tells of its own accord

scenario "cancel-notify" do
  on_channel do |channel|
    queue = channel.queue("interop.cancelled")
    cancelled = Queue.new
    consumer = queue.subscribe(on_cancellation: ->(cancel) { cancelled << cancel.consumer_tag }) { |*| nil }
    channel.connection.create_channel.queue_delete("interop.cancelled")
    check "the application is told which consumer", take(cancelled), consumer.consumer_tag
    check "the channel works on", channel.queue("", exclusive: true).name.start_with?("amq.gen-")
  end
end

scenario "blocked" do
  on_channel do |channel|
    events = Queue.new
    channel.connection.on_blocked { |blocked| events << blocked.reason }
    channel.connection.on_unblocked { events << :unblocked }
    queue = channel.queue("", exclusive: true)
    control "alarm", "on"
    begin
      published = 0
      Timeout.timeout(PATIENCE, nil, "never blocked") do
        while events.empty?
          queue.publish("m#{published += 1}")
          sleep 0.05
        end
      end
      check "told that it is blocked, and why", take(events).empty?, false
      check "the client knows that it is blocked", channel.connection.blocked?
      queue.publish("while blocked")
    ensure
      control "alarm", "off"
    end
    check "told that it is not any more", take(events), :unblocked
    wait_for("what was published arrives") { queue.message_count == published + 1 }
  end
end

DURABLE_QUEUES = %w[interop.kept interop.consumed].freeze

def declare_durables(channel)
  channel.confirm_select
  exchange = channel.direct("interop.durable", durable: true)
  DURABLE_QUEUES.each { |name| channel.queue(name, durable: true).bind(exchange, routing_key: name) }
  exchange.publish("persistent", routing_key: "interop.kept", persistent: true)
  exchange.publish("transient", routing_key: "interop.kept", persistent: false)
  channel.wait_for_confirms
end

def delete_durables(channel)
  DURABLE_QUEUES.each { |name| channel.queue_delete(name) }
  channel.exchange_delete("interop.durable")
end

scenario "recovery" do
  # Bunny declares and binds again what was declared on a connection that recovers. These the broker must keep.
  on_channel { |channel| declare_durables(channel) }
  recovered = Queue.new
  connected(recover: true, network_recovery_interval: 0.2,
            recovery_completed: -> { recovered << true }) do |connection|
    channel = connection.create_channel
    channel.confirm_select
    exchange = channel.direct("interop.durable", no_declare: true)
    kept, consumed = DURABLE_QUEUES.map { |name| channel.queue(name, no_declare: true) }
    own = channel.queue("", exclusive: true).bind(exchange, routing_key: "own")
    arrived = Queue.new
    [consumed, own].each { |queue| queue.subscribe { |_info, _properties, body| arrived << body } }
    exchange.publish("before", routing_key: "interop.consumed", persistent: true)
    check "consuming before the restart", take(arrived), "before"

    control "restart"
    check "the client recovers by itself", take(recovered)
    exchange.publish("after", routing_key: "interop.consumed", persistent: true)
    check "publishing is confirmed", channel.wait_for_confirms
    check "consuming goes on, by the durable exchange, queue and binding", take(arrived), "after"
    exchange.publish("own", routing_key: "own")
    check "its server-named queue and binding are there, too", take(arrived), "own"
    check "the persistent message is there, the transient one is not", drained(kept), ["persistent"]
  end
ensure
  on_channel { |channel| delete_durables(channel) }
end

run
