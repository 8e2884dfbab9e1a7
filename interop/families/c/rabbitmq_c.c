/* rabbitmq-c (librabbitmq): the scenarios of interop/families/README.md.
 *
 * The library is synchronous: whoever waits for something reads frames, and whatever else the broker says is kept for
 * the next who asks. It has no recovery; its manual has the application connect again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "tap.h"

/* ---- the scenarios */

static void connecting(void) {
  amqp_connection_state_t connection = connected();
  amqp_table_t *server = amqp_get_server_properties(connection);
  check("server is named", typed_field(*server, "product", AMQP_FIELD_KIND_UTF8)->value.bytes.len > 0);
  amqp_table_t capabilities = typed_field(*server, "capabilities", AMQP_FIELD_KIND_TABLE)->value.table;
  const char *needed[] = {"publisher_confirms", "consumer_cancel_notify", "basic.nack"};
  for (size_t i = 0; i < LENGTH(needed); i++) {
    check(needed[i], typed_field(capabilities, needed[i], AMQP_FIELD_KIND_BOOLEAN)->value.boolean);
  }
  amqp_bytes_t text;
  check_number("channel closes", reply_code(amqp_channel_close(connection, CHANNEL, AMQP_REPLY_SUCCESS), &text), 0);
  check_number("connection closes", reply_code(amqp_connection_close(connection, AMQP_REPLY_SUCCESS), &text), 0);
}

static void check_login_refused(const char *password, const char *vhost, int code, const char *word) {
  amqp_connection_state_t connection;
  amqp_rpc_reply_t reply = login(&connection, password, vhost);
  amqp_bytes_t text;
  check_number("refused with the code", reply_code(reply, &text), code);
  text.len = strlen(word) < text.len ? strlen(word) : text.len;
  check_bytes("and with the word", text, word);
  amqp_destroy_connection(connection);
}

static void auth_failure(void) {
  check_login_refused("wrong", setting("AMQP_VHOST", "/"), AMQP_ACCESS_REFUSED, "ACCESS_REFUSED");
  check_login_refused(setting("AMQP_PASSWORD", "guest"), "interop.no-such", AMQP_NOT_ALLOWED, "NOT_ALLOWED");
}

static void declare(void) {
  amqp_connection_state_t connection = connected();
  const char *queue = "interop.declare";
  for (int i = 0; i < 2; i++) {
    declare_exchange(connection, queue, "direct", DURABLE);
    declare_queue(connection, queue, DURABLE, amqp_empty_table);
  }
  bind_queue(connection, queue, queue, "key", amqp_empty_table);
  consume(connection, queue, false);
  set_prefetch(connection, 0);
  amqp_queue_declare_ok_t found = declare_queue(connection, queue, PASSIVE, amqp_empty_table);
  check_number("passive: messages", found.message_count, 0);
  check_number("passive: consumers", found.consumer_count, 1);
  must("channel.close", amqp_channel_close(connection, CHANNEL, AMQP_REPLY_SUCCESS));
  open_channel(connection);

  try_queue(connection, "interop.no-such", PASSIVE, amqp_empty_table);
  check_channel_closed(connection, "passive, queue not there: 404", AMQP_NOT_FOUND);
  try_exchange(connection, "interop.no-such", "direct", PASSIVE);
  check_channel_closed(connection, "passive, exchange not there: 404", AMQP_NOT_FOUND);
  try_queue(connection, queue, 0, amqp_empty_table);
  check_channel_closed(connection, "other durability: 406", AMQP_PRECONDITION_FAILED);
  try_queue(connection, queue, DURABLE, TABLE(NUMBER("x-max-length", 5)));
  check_channel_closed(connection, "other argument: 406", AMQP_PRECONDITION_FAILED);

  select_confirms(connection);
  for (int i = 0; i < 3; i++) {
    publish(connection, queue, "key", "routed");
    expect_method(connection, AMQP_BASIC_ACK_METHOD);
  }
  amqp_queue_unbind(connection, CHANNEL, TEXT(queue), TEXT(queue), TEXT("key"), amqp_empty_table);
  must("queue.unbind", amqp_get_rpc_reply(connection));
  publish(connection, queue, "key", "not routed");
  expect_method(connection, AMQP_BASIC_ACK_METHOD);
  amqp_queue_purge_ok_t *purged = amqp_queue_purge(connection, CHANNEL, TEXT(queue));
  must("queue.purge", amqp_get_rpc_reply(connection));
  check_number("purge after unbind", purged->message_count, 3);
  publish(connection, "", queue, "one");
  expect_method(connection, AMQP_BASIC_ACK_METHOD);
  const char *deletions[] = {"delete", "delete again"};
  for (size_t i = 0; i < LENGTH(deletions); i++) {
    amqp_queue_delete_ok_t *deleted = amqp_queue_delete(connection, CHANNEL, TEXT(queue), 0, 0);
    must("queue.delete", amqp_get_rpc_reply(connection));
    check_number(deletions[i], deleted->message_count, i == 0 ? 1 : 0);
  }

  try_exchange(connection, "interop.odd", "no-such-type", 0);
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
  amqp_bytes_t text;
  check_number("unknown exchange type: 503", reply_code(reply, &text), AMQP_COMMAND_INVALID);
  check("closes the connection", reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD);
}

static void confirms(void) {
  enum { MESSAGES = 1000 };
  amqp_connection_state_t connection = connected();
  const char *queue = "interop.confirms";
  declare_queue(connection, queue, DURABLE, amqp_empty_table);
  select_confirms(connection);
  char body[16];
  for (int i = 1; i <= MESSAGES; i++) {
    snprintf(body, sizeof body, "%d", i);
    publish_with(connection, "", queue, delivery_mode(PERSISTENT), body);
  }
  bool confirmed[MESSAGES + 1] = {false};
  uint64_t lowest = 1; /* every tag below is confirmed */
  while (lowest <= MESSAGES) {
    amqp_method_t method = next_method(connection);
    if (method.id != AMQP_BASIC_ACK_METHOD) {
      break;
    }
    amqp_basic_ack_t *ack = method.decoded;
    for (uint64_t tag = ack->multiple ? lowest : ack->delivery_tag; tag <= ack->delivery_tag; tag++) {
      confirmed[tag] = true;
    }
    while (lowest <= MESSAGES && confirmed[lowest]) {
      lowest++;
    }
    amqp_maybe_release_buffers(connection);
  }
  check_number("all confirmed", lowest - 1, MESSAGES);
  check_number("all in the queue", message_count(connection, queue), MESSAGES);
  consume(connection, queue, true);
  int in_order = 0;
  for (int i = 1; i <= MESSAGES; i++) {
    amqp_envelope_t envelope;
    next_delivery(connection, &envelope);
    snprintf(body, sizeof body, "%d", i);
    amqp_bytes_t seen = envelope.message.body;
    in_order += seen.len == strlen(body) && memcmp(seen.bytes, body, seen.len) == 0;
    amqp_destroy_envelope(&envelope);
    amqp_maybe_release_buffers(connection);
  }
  check_number("in order", in_order, MESSAGES);
}

static void mandatory_return(void) {
  amqp_connection_state_t connection = connected();
  const char *exchange = "interop.return";
  declare_exchange(connection, exchange, "direct", 0);
  select_confirms(connection);
  amqp_basic_properties_t properties = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_HEADERS_FLAG,
                                        .message_id = TEXT("id-1"),
                                        .headers = TABLE(NUMBER("try", 7))};
  must_send("basic.publish", amqp_basic_publish(connection, CHANNEL, TEXT(exchange), TEXT("nobody"), 1, 0, &properties,
                                                TEXT("come back")));
  amqp_basic_return_t *returned = expect_method(connection, AMQP_BASIC_RETURN_METHOD);
  check_number("reply code", returned->reply_code, AMQP_NO_ROUTE);
  check_bytes("reply text", returned->reply_text, "NO_ROUTE");
  check_bytes("exchange", returned->exchange, exchange);
  check_bytes("routing key", returned->routing_key, "nobody");
  amqp_message_t message;
  must("read message", amqp_read_message(connection, CHANNEL, &message, 0));
  check_bytes("body", message.body, "come back");
  check_bytes("message id", message.properties.message_id, "id-1");
  check_number("header", typed_field(message.properties.headers, "try", AMQP_FIELD_KIND_I32)->value.i32, 7);
  amqp_destroy_message(&message);
  amqp_basic_ack_t *ack = expect_method(connection, AMQP_BASIC_ACK_METHOD);
  check_number("confirmed after it", ack->delivery_tag, 1);
}

static void consuming(void) {
  amqp_connection_state_t connection = connected(), other = connected();
  const char *queue = "interop.consume";
  const char *bodies[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
  declare_queue(connection, queue, 0, amqp_empty_table);
  for (size_t i = 0; i < LENGTH(bodies); i++) {
    publish(connection, "", queue, bodies[i]);
  }
  set_prefetch(connection, 3);
  amqp_bytes_t tag = amqp_bytes_malloc_dup(consume(connection, queue, false));
  amqp_envelope_t first[3];
  for (int i = 0; i < 3; i++) {
    next_delivery(connection, &first[i]);
    check_bytes("delivered at once", first[i].message.body, bodies[i]);
    check("not redelivered", !first[i].redelivered);
  }
  check_no_delivery(connection, "no 4th until an ack");

  amqp_basic_ack(connection, CHANNEL, first[1].delivery_tag, 1); /* 1 and 2 */
  amqp_envelope_t fourth, fifth;
  next_delivery(connection, &fourth);
  next_delivery(connection, &fifth);
  check_bytes("multiple ack makes room: 4", fourth.message.body, "4");
  check_bytes("multiple ack makes room: 5", fifth.message.body, "5");
  check_no_delivery(connection, "for two only");

  amqp_basic_nack(connection, CHANNEL, first[2].delivery_tag, 0, 1);
  amqp_envelope_t again;
  next_delivery(connection, &again);
  check_bytes("nack with requeue comes again", again.message.body, "3");
  check("as redelivered", again.redelivered);
  amqp_basic_reject(connection, CHANNEL, again.delivery_tag, 0);
  check_next_delivery(connection, "reject makes room", "6");

  amqp_basic_cancel(connection, CHANNEL, tag);
  must("basic.cancel", amqp_get_rpc_reply(connection));
  check_number("no consumer is left", declare_queue(other, queue, PASSIVE, amqp_empty_table).consumer_count, 0);
  check_number("ready while 4, 5, 6 are unacknowledged", message_count(other, queue), 4);
  must("channel.close", amqp_channel_close(connection, CHANNEL, AMQP_REPLY_SUCCESS));
  check_count_soon(other, "all there again when the channel is closed", queue, 7);
  const char *rest[] = {"4", "5", "6", "7", "8", "9", "10"};
  for (size_t i = 0; i < LENGTH(rest); i++) {
    amqp_envelope_t envelope;
    get_soon(other, queue, &envelope);
    check_bytes("in their order, the rejected one gone", envelope.message.body, rest[i]);
    check_number("redelivered if delivered before", envelope.redelivered, i < 3);
  }
}

static void getting(void) {
  amqp_connection_state_t connection = connected();
  const char *queue = "interop.get";
  declare_queue(connection, queue, 0, amqp_empty_table);
  declare_exchange(connection, queue, "direct", 0);
  bind_queue(connection, queue, queue, "key", amqp_empty_table);
  publish(connection, queue, "key", "first");
  publish(connection, queue, "key", "second");
  check_count_soon(connection, "both are there", queue, 2);
  amqp_envelope_t envelope;
  uint32_t left = 99;
  check("a message", get(connection, queue, false, &envelope, &left));
  check_bytes("body", envelope.message.body, "first");
  check_bytes("exchange", envelope.exchange, queue);
  check_bytes("routing key", envelope.routing_key, "key");
  check("not redelivered", !envelope.redelivered);
  check_number("messages left", left, 1);
  amqp_basic_nack(connection, CHANNEL, envelope.delivery_tag, 0, 1);
  check("the message again", get(connection, queue, false, &envelope, NULL));
  check_bytes("same body", envelope.message.body, "first");
  check("redelivered", envelope.redelivered);
  amqp_basic_ack(connection, CHANNEL, envelope.delivery_tag, 0);
  check("the other", get(connection, queue, true, &envelope, &left));
  check_number("none left", left, 0);
  check("empty", !get(connection, queue, true, &envelope, NULL));
  must("channel.close", amqp_channel_close(connection, CHANNEL, AMQP_REPLY_SUCCESS));
  open_channel(connection);
  check_number("acknowledged is gone", message_count(connection, queue), 0);
}

static void exclusive(void) {
  amqp_connection_state_t owner = connected(), other = connected();
  amqp_bytes_t name = declare_queue(owner, "", EXCLUSIVE, amqp_empty_table).queue;
  char queue[256];
  snprintf(queue, sizeof queue, "%.*s", (int)name.len, (char *)name.bytes);
  check("the server names the queue", strncmp(queue, "amq.gen-", 8) == 0);
  try_queue(other, queue, PASSIVE, amqp_empty_table);
  check_channel_closed(other, "another connection: 405", AMQP_RESOURCE_LOCKED);
  disconnect(owner);
  try_queue(other, queue, PASSIVE, amqp_empty_table);
  check_channel_closed(other, "gone with its connection: 404", AMQP_NOT_FOUND);

  declare_queue(other, "interop.exclusive", 0, amqp_empty_table);
  try_consume(other, "interop.exclusive", false, true);
  must("exclusive consumer", amqp_get_rpc_reply(other));
  amqp_connection_state_t third = connected();
  try_consume(third, "interop.exclusive", false, false);
  check_channel_closed(third, "a second consumer: 403", AMQP_ACCESS_REFUSED);
}

static void auto_delete(void) {
  amqp_connection_state_t connection = connected();
  const char *name = "interop.auto-delete";
  declare_queue(connection, name, AUTO_DELETE, amqp_empty_table);
  check_number("stays while it had no consumer", message_count(connection, name), 0);
  amqp_bytes_t first = amqp_bytes_malloc_dup(consume(connection, name, false));
  amqp_bytes_t last = amqp_bytes_malloc_dup(consume(connection, name, false));
  amqp_basic_cancel(connection, CHANNEL, first);
  must("basic.cancel", amqp_get_rpc_reply(connection));
  check_number("stays while there is a consumer", message_count(connection, name), 0);
  amqp_basic_cancel(connection, CHANNEL, last);
  must("basic.cancel", amqp_get_rpc_reply(connection));
  try_queue(connection, name, PASSIVE, amqp_empty_table);
  check_channel_closed(connection, "queue goes with its last consumer", AMQP_NOT_FOUND);

  declare_exchange(connection, name, "fanout", AUTO_DELETE);
  declare_queue(connection, "interop.bound", 0, amqp_empty_table);
  const char *keys[] = {"one", "two"};
  for (size_t i = 0; i < LENGTH(keys); i++) {
    bind_queue(connection, "interop.bound", name, keys[i], amqp_empty_table);
  }
  for (size_t i = 0; i < LENGTH(keys); i++) {
    try_exchange(connection, name, "fanout", PASSIVE);
    must("exchange is there while there is a binding", amqp_get_rpc_reply(connection));
    amqp_queue_unbind(connection, CHANNEL, TEXT("interop.bound"), TEXT(name), TEXT(keys[i]), amqp_empty_table);
    must("queue.unbind", amqp_get_rpc_reply(connection));
  }
  try_exchange(connection, name, "fanout", PASSIVE);
  check_channel_closed(connection, "exchange goes with its last binding", AMQP_NOT_FOUND);
}

static void exchange_bindings(void) {
  amqp_connection_state_t connection = connected();
  const char *topic = "interop.topic", *fanout = "interop.fanout", *queue = "interop.e2e";
  declare_exchange(connection, topic, "topic", 0);
  declare_exchange(connection, fanout, "fanout", 0);
  declare_queue(connection, queue, 0, amqp_empty_table);
  bind_queue(connection, queue, fanout, "", amqp_empty_table);
  amqp_exchange_bind(connection, CHANNEL, TEXT(fanout), TEXT(topic), TEXT("*.red.#"), amqp_empty_table);
  must("exchange.bind", amqp_get_rpc_reply(connection));
  publish(connection, topic, "a.blue", "does not match");
  publish(connection, topic, "a.red.b", "through both");
  amqp_envelope_t envelope;
  get_soon(connection, queue, &envelope);
  check_bytes("comes through both", envelope.message.body, "through both");
  check_bytes("with its exchange", envelope.exchange, topic);
  check_bytes("and its routing key", envelope.routing_key, "a.red.b");
  amqp_exchange_unbind(connection, CHANNEL, TEXT(fanout), TEXT(topic), TEXT("*.red.#"), amqp_empty_table);
  must("exchange.unbind", amqp_get_rpc_reply(connection));
  publish(connection, topic, "a.red.b", "after unbind");
  publish(connection, fanout, "", "last");
  get_soon(connection, queue, &envelope);
  check_bytes("not after unbind", envelope.message.body, "last");
}

/* ---- headers */

static bool same_table(amqp_table_t one, amqp_table_t other);

static bool same_value(const amqp_field_value_t *one, const amqp_field_value_t *other) {
  if (one->kind != other->kind) {
    return false;
  }
  switch (one->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
      return one->value.boolean == other->value.boolean;
    case AMQP_FIELD_KIND_I8:
      return one->value.i8 == other->value.i8;
    case AMQP_FIELD_KIND_U8:
      return one->value.u8 == other->value.u8;
    case AMQP_FIELD_KIND_I16:
      return one->value.i16 == other->value.i16;
    case AMQP_FIELD_KIND_U16:
      return one->value.u16 == other->value.u16;
    case AMQP_FIELD_KIND_I32:
      return one->value.i32 == other->value.i32;
    case AMQP_FIELD_KIND_U32:
      return one->value.u32 == other->value.u32;
    case AMQP_FIELD_KIND_I64:
      return one->value.i64 == other->value.i64;
    case AMQP_FIELD_KIND_TIMESTAMP:
      return one->value.u64 == other->value.u64;
    case AMQP_FIELD_KIND_F32:
      return one->value.f32 == other->value.f32;
    case AMQP_FIELD_KIND_F64:
      return one->value.f64 == other->value.f64;
    case AMQP_FIELD_KIND_DECIMAL:
      return one->value.decimal.decimals == other->value.decimal.decimals &&
             one->value.decimal.value == other->value.decimal.value;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
      return same_bytes(one->value.bytes, other->value.bytes);
    case AMQP_FIELD_KIND_VOID:
      return true;
    case AMQP_FIELD_KIND_TABLE:
      return same_table(one->value.table, other->value.table);
    case AMQP_FIELD_KIND_ARRAY: {
      amqp_array_t left = one->value.array, right = other->value.array;
      bool same = left.num_entries == right.num_entries;
      for (int i = 0; same && i < left.num_entries; i++) {
        same = same_value(&left.entries[i], &right.entries[i]);
      }
      return same;
    }
    default:
      return false;
  }
}

static bool same_table(amqp_table_t one, amqp_table_t other) {
  bool same = one.num_entries == other.num_entries;
  for (int i = 0; same && i < one.num_entries; i++) {
    amqp_table_entry_t *left = &one.entries[i], *right = &other.entries[i];
    same = same_bytes(left->key, right->key) && same_value(&left->value, &right->value);
  }
  return same;
}

static void check_header_types(amqp_connection_state_t connection) {
  char every_byte[256];
  for (int i = 0; i < 256; i++) {
    every_byte[i] = (char)i;
  }
  amqp_field_value_t items[] = {{AMQP_FIELD_KIND_I32, {.i32 = 1}},
                                {AMQP_FIELD_KIND_UTF8, {.bytes = TEXT("two")}},
                                {AMQP_FIELD_KIND_ARRAY, {.array = {0, NULL}}}};
  /* The library can write 'L' (unsigned 64 bit), too, but RabbitMQ does not read it. */
  amqp_table_entry_t entries[] = {
      FIELD("true", BOOLEAN, boolean, 1),
      FIELD("false", BOOLEAN, boolean, 0),
      FIELD("int8 minimum", I8, i8, INT8_MIN),
      FIELD("int8 maximum", I8, i8, INT8_MAX),
      FIELD("uint8 maximum", U8, u8, UINT8_MAX),
      FIELD("int16 minimum", I16, i16, INT16_MIN),
      FIELD("int16 maximum", I16, i16, INT16_MAX),
      FIELD("uint16 maximum", U16, u16, UINT16_MAX),
      FIELD("int32 minimum", I32, i32, INT32_MIN),
      FIELD("int32 maximum", I32, i32, INT32_MAX),
      FIELD("uint32 maximum", U32, u32, UINT32_MAX),
      FIELD("int64 minimum", I64, i64, INT64_MIN),
      FIELD("int64 maximum", I64, i64, INT64_MAX),
      FIELD("float", F32, f32, 1.5f),
      FIELD("double", F64, f64, 0.1),
      FIELD("decimal", DECIMAL, decimal, {2, 31415}),
      FIELD("string", UTF8, bytes, TEXT("gr\u00fc\u00df dich, \u4e16\u754c \U0001f430")),
      FIELD("empty string", UTF8, bytes, TEXT("")),
      FIELD("bytes", BYTES, bytes, {sizeof every_byte, every_byte}),
      FIELD("timestamp", TIMESTAMP, u64, 4102444800u),
      FIELD("null", VOID, boolean, 0),
      FIELD("table", TABLE, table, TABLE(FIELD("inner", TABLE, table, TABLE(NUMBER("number", -1))))),
      FIELD("empty table", TABLE, table, {0, NULL}),
      FIELD("array", ARRAY, array, {LENGTH(items), items}),
      FIELD("empty array", ARRAY, array, {0, NULL}),
  };
  amqp_basic_properties_t sent = {
      ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_HEADERS_FLAG |
                AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG |
                AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_USER_ID_FLAG | AMQP_BASIC_APP_ID_FLAG |
                AMQP_BASIC_CLUSTER_ID_FLAG,
      .content_type = TEXT("text/plain"),
      .content_encoding = TEXT("utf-8"),
      .headers = {LENGTH(entries), entries},
      .delivery_mode = PERSISTENT,
      .priority = 4,
      .correlation_id = TEXT("correlation"),
      .reply_to = TEXT("reply.here"),
      .expiration = TEXT("60000"),
      .message_id = TEXT("message"),
      .timestamp = 1700000000,
      .type = TEXT("greeting"),
      .user_id = TEXT(setting("AMQP_USER", "guest")),
      .app_id = TEXT("interop"),
      .cluster_id = TEXT("cluster"),
  };
  const char *queue = "interop.headers";
  declare_queue(connection, queue, 0, amqp_empty_table);
  publish_with(connection, "", queue, sent, "all of it");
  amqp_envelope_t envelope;
  get_soon(connection, queue, &envelope);
  amqp_basic_properties_t *seen = &envelope.message.properties;
  check_number("all properties are there", seen->_flags, sent._flags);
  check("delivery mode", seen->delivery_mode == sent.delivery_mode);
  check("priority", seen->priority == sent.priority);
  check("timestamp", seen->timestamp == sent.timestamp);
  struct {
    const char *name;
    amqp_bytes_t seen, sent;
  } texts[] = {
      {"content type", seen->content_type, sent.content_type},
      {"content encoding", seen->content_encoding, sent.content_encoding},
      {"correlation id", seen->correlation_id, sent.correlation_id},
      {"reply to", seen->reply_to, sent.reply_to},
      {"expiration", seen->expiration, sent.expiration},
      {"message id", seen->message_id, sent.message_id},
      {"type", seen->type, sent.type},
      {"user id", seen->user_id, sent.user_id},
      {"app id", seen->app_id, sent.app_id},
      {"cluster id", seen->cluster_id, sent.cluster_id},
  };
  for (size_t i = 0; i < LENGTH(texts); i++) {
    check(texts[i].name, same_bytes(texts[i].seen, texts[i].sent));
  }
  check_number("number of headers", seen->headers.num_entries, LENGTH(entries));
  for (size_t i = 0; i < LENGTH(entries); i++) {
    check(entries[i].key.bytes, same_value(field(seen->headers, entries[i].key.bytes), &entries[i].value));
  }
}

static void headers(void) {
  amqp_connection_state_t connection = connected();
  check_header_types(connection);

  const char *exchange = "interop.headers";
  declare_exchange(connection, exchange, "headers", 0);
  const char *bound[] = {"all", "any"};
  for (size_t i = 0; i < LENGTH(bound); i++) {
    declare_queue(connection, bound[i], 0, amqp_empty_table);
    bind_queue(connection, bound[i], exchange, "",
         TABLE(STRING("x-match", bound[i]), STRING("format", "pdf"), NUMBER("pages", 3)));
  }
  amqp_table_t both = TABLE(STRING("format", "pdf"), NUMBER("pages", 3), STRING("more", "yes"));
  amqp_table_t one = TABLE(STRING("format", "pdf"), NUMBER("pages", 4));
  amqp_table_t none = TABLE(STRING("format", "png"));
  const amqp_table_t sent[] = {none, one, both};
  const char *bodies[] = {"none", "one", "both"};
  for (size_t i = 0; i < LENGTH(sent); i++) {
    publish_with(connection, exchange, "",
                 (amqp_basic_properties_t){._flags = AMQP_BASIC_HEADERS_FLAG, .headers = sent[i]}, bodies[i]);
  }
  check_count_soon(connection, "x-match any: two", "any", 2);
  check_count_soon(connection, "x-match all: one", "all", 1);
  amqp_envelope_t envelope;
  get_soon(connection, "any", &envelope);
  check_bytes("any takes one of the values", envelope.message.body, "one");
  get_soon(connection, "any", &envelope);
  check_bytes("any takes both", envelope.message.body, "both");
  get_soon(connection, "all", &envelope);
  check_bytes("all takes both", envelope.message.body, "both");
}

/* ---- what happens to messages in queues */

static const amqp_table_t *death(const amqp_envelope_t *envelope, const char *queue, const char *reason) {
  const amqp_table_t headers = envelope->message.properties.headers;
  amqp_array_t deaths = typed_field(headers, "x-death", AMQP_FIELD_KIND_ARRAY)->value.array;
  for (int i = 0; i < deaths.num_entries; i++) {
    const amqp_table_t *entry = &deaths.entries[i].value.table;
    if (same_bytes(field(*entry, "queue")->value.bytes, TEXT(queue)) &&
        same_bytes(field(*entry, "reason")->value.bytes, TEXT(reason))) {
      return entry;
    }
  }
  fail("not in x-death: %s in %s", reason, queue);
}

/* One message died in `queue` for this reason and is now in interop.dead. */
static void check_death(amqp_connection_state_t connection, const char *queue, const char *reason, const char *body,
                        const char *key) {
  amqp_envelope_t envelope;
  get_soon(connection, "interop.dead", &envelope);
  check_bytes(reason, envelope.message.body, body);
  check_bytes("routing key asked for", envelope.routing_key, key);
  check_bytes("exchange", envelope.exchange, "interop.dlx");
  const amqp_table_t *entry = death(&envelope, queue, reason);
  check_number("count", typed_field(*entry, "count", AMQP_FIELD_KIND_I64)->value.i64, 1);
  check_string_field(*entry, "reason", reason);
  check_string_field(*entry, "queue", queue);
  check_string_field(*entry, "exchange", "");
  amqp_array_t keys = typed_field(*entry, "routing-keys", AMQP_FIELD_KIND_ARRAY)->value.array;
  check_number("routing keys", keys.num_entries, 1);
  check_bytes("routing key", keys.entries[0].value.bytes, queue);
  uint64_t when = typed_field(*entry, "time", AMQP_FIELD_KIND_TIMESTAMP)->value.u64;
  check("time is now, in seconds", llabs((long long)when - (long long)time(NULL)) < 60);
  amqp_table_t headers = envelope.message.properties.headers;
  check_string_field(headers, "x-first-death-reason", reason);
  check_string_field(headers, "x-first-death-queue", queue);
  check_string_field(headers, "x-first-death-exchange", "");
}

static void reject_soon(amqp_connection_state_t connection, const char *queue) {
  check_count_soon(connection, "message to reject", queue, 1);
  amqp_envelope_t envelope;
  check("got it", get(connection, queue, false, &envelope, NULL));
  must_send("basic.reject", amqp_basic_reject(connection, CHANNEL, envelope.delivery_tag, 0));
}

static void dead_letter(void) {
  amqp_connection_state_t connection = connected();
  declare_exchange(connection, "interop.dlx", "fanout", 0);
  declare_queue(connection, "interop.dead", 0, amqp_empty_table);
  bind_queue(connection, "interop.dead", "interop.dlx", "", amqp_empty_table);
  amqp_table_entry_t exchange = STRING("x-dead-letter-exchange", "interop.dlx");
  amqp_table_entry_t key = STRING("x-dead-letter-routing-key", "dead");

  declare_queue(connection, "interop.rejecting", 0, TABLE(exchange, key));
  publish(connection, "", "interop.rejecting", "bad");
  reject_soon(connection, "interop.rejecting");
  check_death(connection, "interop.rejecting", "rejected", "bad", "dead");

  declare_queue(connection, "interop.expiring", 0, TABLE(exchange, NUMBER("x-message-ttl", 1)));
  publish(connection, "", "interop.expiring", "old");
  check_death(connection, "interop.expiring", "expired", "old", "interop.expiring");

  declare_queue(connection, "interop.limited", 0, TABLE(exchange, key, NUMBER("x-max-length", 1)));
  publish(connection, "", "interop.limited", "oldest");
  publish(connection, "", "interop.limited", "newest");
  check_death(connection, "interop.limited", "maxlen", "oldest", "dead");

  /* Rejected in one queue, expired in the other, which sends it back: twice around. */
  declare_queue(connection, "interop.there", 0,
                TABLE(STRING("x-dead-letter-exchange", ""), STRING("x-dead-letter-routing-key", "interop.back")));
  declare_queue(connection, "interop.back", 0,
                TABLE(STRING("x-dead-letter-exchange", ""), STRING("x-dead-letter-routing-key", "interop.there"),
                      NUMBER("x-message-ttl", 1)));
  publish(connection, "", "interop.there", "around");
  reject_soon(connection, "interop.there");
  reject_soon(connection, "interop.there");
  amqp_envelope_t envelope;
  get_soon(connection, "interop.there", &envelope);
  const char *dead[][2] = {{"interop.there", "rejected"}, {"interop.back", "expired"}};
  for (size_t i = 0; i < LENGTH(dead); i++) {
    const amqp_table_t *entry = death(&envelope, dead[i][0], dead[i][1]);
    check_number("died twice", typed_field(*entry, "count", AMQP_FIELD_KIND_I64)->value.i64, 2);
  }
}

static void ttl(void) {
  amqp_connection_state_t connection = connected();
  amqp_basic_properties_t soon = {._flags = AMQP_BASIC_EXPIRATION_FLAG, .expiration = TEXT("100")};
  amqp_basic_properties_t late = {._flags = AMQP_BASIC_EXPIRATION_FLAG, .expiration = TEXT("60000")};
  declare_queue(connection, "interop.ttl-short", 0, TABLE(NUMBER("x-message-ttl", 100)));
  declare_queue(connection, "interop.ttl-long", 0, TABLE(NUMBER("x-message-ttl", 60000)));
  publish_with(connection, "", "interop.ttl-short", late, "x-message-ttl is smaller");
  publish_with(connection, "", "interop.ttl-long", soon, "expiration is smaller");
  publish(connection, "", "interop.ttl-long", "stays");
  check_count_soon(connection, "both are in the queue", "interop.ttl-long", 2);
  check_count_soon(connection, "x-message-ttl", "interop.ttl-short", 0);
  check_count_soon(connection, "expiration", "interop.ttl-long", 1);
  amqp_envelope_t envelope;
  get_soon(connection, "interop.ttl-long", &envelope);
  check_bytes("neither of them", envelope.message.body, "stays");

  declare_queue(connection, "interop.expires", 0, TABLE(NUMBER("x-expires", 300)));
  pause_ms(1000); /* Asking for it sooner would be using it. */
  try_queue(connection, "interop.expires", PASSIVE, amqp_empty_table);
  check_channel_closed(connection, "x-expires", AMQP_NOT_FOUND);
}

static void priority(void) {
  amqp_connection_state_t connection = connected();
  const char *queue = "interop.priority";
  declare_queue(connection, queue, 0, TABLE(NUMBER("x-max-priority", 10)));
  const uint8_t priorities[] = {1, 5, 3, 0, 9, 5};
  const char *bodies[] = {"1", "5", "3", "0", "9", "5 again"};
  publish(connection, "", queue, "none");
  for (size_t i = 0; i < LENGTH(bodies); i++) {
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_PRIORITY_FLAG, .priority = priorities[i]};
    publish_with(connection, "", queue, properties, bodies[i]);
  }
  check_count_soon(connection, "all there", queue, LENGTH(bodies) + 1);
  consume(connection, queue, true);
  const char *received[] = {"9", "5", "5 again", "3", "1", "none", "0"};
  for (size_t i = 0; i < LENGTH(received); i++) {
    check_next_delivery(connection, "by priority", received[i]);
  }
}

static void direct_reply_to(void) {
  amqp_connection_state_t client = connected(), server = connected();
  const char *requests = "interop.requests", *pseudo_queue = "amq.rabbitmq.reply-to";
  declare_queue(server, requests, 0, amqp_empty_table);
  consume(server, requests, true);
  consume(client, pseudo_queue, true);
  int answered = 0;
  for (int i = 0; i < 100; i++) {
    char id[16];
    snprintf(id, sizeof id, "call %d", i);
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG,
                                          .reply_to = TEXT(pseudo_queue),
                                          .correlation_id = TEXT(id)};
    publish_with(client, "", requests, properties, id);

    amqp_envelope_t request, answer;
    next_delivery(server, &request);
    amqp_bytes_t reply_to = request.message.properties.reply_to;
    char key[256];
    snprintf(key, sizeof key, "%.*s", (int)reply_to.len, (char *)reply_to.bytes);
    publish_body(server, "", key,
                 (amqp_basic_properties_t){._flags = AMQP_BASIC_CORRELATION_ID_FLAG,
                                           .correlation_id = request.message.properties.correlation_id},
                 request.message.body);
    next_delivery(client, &answer);
    answered += same_bytes(answer.message.properties.correlation_id, TEXT(id)) &&
                same_bytes(answer.message.body, TEXT(id)) && strcmp(key, pseudo_queue) != 0;
    amqp_destroy_envelope(&request);
    amqp_destroy_envelope(&answer);
  }
  check_number("each call has its own answer", answered, 100);
}

static void large_message(void) {
  amqp_connection_state_t connection = connected();
  const char *queue = "interop.large";
  declare_queue(connection, queue, 0, amqp_empty_table);
  size_t frame_max = (size_t)amqp_get_frame_max(connection);
  struct {
    const char *name;
    size_t size;
  } bodies[] = {{"0 bytes", 0}, {"one frame", frame_max - 8}, {"a byte more", frame_max - 7}, {"20 MiB", 20 << 20}};
  consume(connection, queue, true);
  for (size_t i = 0; i < LENGTH(bodies); i++) {
    amqp_bytes_t body = amqp_bytes_malloc(bodies[i].size);
    for (size_t at = 0; at < body.len; at++) {
      ((unsigned char *)body.bytes)[at] = (unsigned char)(at * 31 + at / 251);
    }
    publish_body(connection, "", queue, (amqp_basic_properties_t){0}, body);
    amqp_envelope_t envelope;
    next_delivery(connection, &envelope);
    check(bodies[i].name, same_bytes(envelope.message.body, body));
    amqp_destroy_envelope(&envelope);
    amqp_bytes_free(body);
    amqp_maybe_release_buffers(connection);
  }
}

/* ---- what the broker tells */

static void cancel_notify(void) {
  amqp_connection_state_t connection = connected(), other = connected();
  const char *queue = "interop.cancelled";
  declare_queue(connection, queue, 0, amqp_empty_table);
  amqp_bytes_t tag = amqp_bytes_malloc_dup(consume(connection, queue, false));
  amqp_queue_delete(other, CHANNEL, TEXT(queue), 0, 0);
  must("queue.delete", amqp_get_rpc_reply(other));
  amqp_basic_cancel_t *cancel = expect_method(connection, AMQP_BASIC_CANCEL_METHOD);
  check("the consumer is cancelled", same_bytes(cancel->consumer_tag, tag));
  declare_queue(connection, queue, 0, amqp_empty_table);
  publish(connection, "", queue, "still here");
  consume(connection, queue, true);
  check_next_delivery(connection, "the channel works on", "still here");
}

static void blocked(void) {
  amqp_connection_state_t publisher = connected(), other = connected();
  const char *queue = "interop.blocked";
  declare_queue(other, queue, 0, amqp_empty_table);
  set_alarm(true);
  amqp_frame_t frame;
  uint32_t published = 0;
  int status;
  do { /* The broker measures its memory from time to time: the first message may come before the alarm. */
    publish(publisher, "", queue, "patience");
    status = amqp_simple_wait_frame_noblock(publisher, &frame, &(struct timeval){0, 100000});
  } while (status == AMQP_STATUS_TIMEOUT && ++published < PATIENCE_SECONDS * 10);
  must_send("connection.blocked", status);
  if (frame.payload.method.id != AMQP_CONNECTION_BLOCKED_METHOD) {
    fail("expected connection.blocked, got %s", amqp_method_name(frame.payload.method.id));
  }
  amqp_connection_blocked_t *notice = frame.payload.method.decoded;
  check("blocked, with a reason", notice->reason.len > 0);
  set_alarm(false);
  check("unblocked", next_method(publisher).id == AMQP_CONNECTION_UNBLOCKED_METHOD);
  check_count_soon(other, "what was published arrives", queue, published + 1);
}

static void recovery(void) {
  amqp_connection_state_t connection = connected();
  const char *name = "interop.recovery";
  declare_exchange(connection, name, "direct", DURABLE);
  declare_queue(connection, name, DURABLE, amqp_empty_table);
  bind_queue(connection, name, name, "key", amqp_empty_table);
  select_confirms(connection);
  const char *bodies[] = {"kept 1", "lost", "kept 2"};
  for (size_t i = 0; i < LENGTH(bodies); i++) {
    publish_with(connection, name, "key", delivery_mode(i == 1 ? TRANSIENT : PERSISTENT), bodies[i]);
    expect_method(connection, AMQP_BASIC_ACK_METHOD);
  }
  set_prefetch(connection, 1);
  consume(connection, name, false);
  check_next_delivery(connection, "consuming", "kept 1");

  control("restart");
  amqp_envelope_t envelope;
  amqp_rpc_reply_t reply = wait_delivery(connection, (struct timeval){PATIENCE_SECONDS, 0}, &envelope);
  check("the consumer is told that the connection is gone",
        reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error != AMQP_STATUS_TIMEOUT);
  disconnect(connection);

  connection = connect_again();
  try_exchange(connection, name, "direct", PASSIVE);
  must("exchange is there", amqp_get_rpc_reply(connection));
  check_number("queue is there, with the persistent messages", message_count(connection, name), 2);
  consume(connection, name, true);
  check_next_delivery(connection, "persistent message", "kept 1");
  check_next_delivery(connection, "persistent message, no transient one", "kept 2");
  publish(connection, name, "key", "by the old binding");
  check_next_delivery(connection, "publishing and consuming go on", "by the old binding");
}

static const struct scenario scenarios[] = {
    {"connect", connecting},
    {"auth-failure", auth_failure},
    {"declare", declare},
    {"confirms", confirms},
    {"mandatory-return", mandatory_return},
    {"consume", consuming},
    {"get", getting},
    {"exclusive", exclusive},
    {"auto-delete", auto_delete},
    {"exchange-bindings", exchange_bindings},
    {"headers", headers},
    {"dead-letter", dead_letter},
    {"ttl", ttl},
    {"priority", priority},
    {"direct-reply-to", direct_reply_to},
    {"large-message", large_message},
    {"cancel-notify", cancel_notify},
    {"blocked", blocked},
    {"recovery", recovery},
};

int main(int argc, char **argv) {
  run_scenarios(scenarios, LENGTH(scenarios), argc, argv, clean_up);
  return 0;
}
