#define _POSIX_C_SOURCE 200809L

#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <amqp_tcp_socket.h>

#include "tap.h"

/* What clean_up() is to close, delete and put right. */
static amqp_connection_state_t connections[16];
static size_t connection_count;
static const char *queues[16], *exchanges[16];
static size_t queue_count, exchange_count;
static bool alarm_is_on;

void pause_ms(long milliseconds) {
  nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value != NULL ? value : otherwise;
}

amqp_rpc_reply_t login(amqp_connection_state_t *connection, const char *password, const char *vhost) {
  *connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(*connection);
  int port = atoi(setting("AMQP_PORT", "5672"));
  int status = amqp_socket_open(socket, setting("AMQP_HOST", "127.0.0.1"), port);
  if (status != AMQP_STATUS_OK) {
    amqp_destroy_connection(*connection);
    *connection = NULL;
    return (amqp_rpc_reply_t){.reply_type = AMQP_RESPONSE_LIBRARY_EXCEPTION, .library_error = status};
  }
  amqp_set_rpc_timeout(*connection, &(struct timeval){PATIENCE_SECONDS, 0});
  /* The library does not claim these; without them the broker says neither basic.cancel nor connection.blocked. */
  amqp_table_t capabilities = TABLE(FIELD("consumer_cancel_notify", BOOLEAN, boolean, 1),
                                    FIELD("connection.blocked", BOOLEAN, boolean, 1));
  amqp_table_t properties = TABLE(FIELD("capabilities", TABLE, table, capabilities));
  return amqp_login_with_properties(*connection, vhost, AMQP_DEFAULT_MAX_CHANNELS, AMQP_DEFAULT_FRAME_SIZE, 0,
                                    &properties, AMQP_SASL_METHOD_PLAIN, setting("AMQP_USER", "guest"), password);
}

/* The code of a connection.close or channel.close, 0 for success, less for an error of the library. */
int reply_code(amqp_rpc_reply_t reply, amqp_bytes_t *text) {
  *text = TEXT(reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION ? amqp_error_string2(reply.library_error) : "");
  if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION) {
    return reply.reply_type == AMQP_RESPONSE_NORMAL ? 0 : -1;
  }
  if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
    amqp_connection_close_t *close = reply.reply.decoded;
    *text = close->reply_text;
    return close->reply_code;
  }
  amqp_channel_close_t *close = reply.reply.decoded;
  *text = close->reply_text;
  return close->reply_code;
}

void must(const char *what, amqp_rpc_reply_t reply) {
  amqp_bytes_t text;
  int code = reply_code(reply, &text);
  if (code != 0) {
    fail("%s: %d %.*s", what, code, (int)text.len, (char *)text.bytes);
  }
}

void must_send(const char *what, int status) {
  if (status != AMQP_STATUS_OK) {
    fail("%s: %s", what, amqp_error_string2(status));
  }
}

void open_channel(amqp_connection_state_t connection) {
  amqp_channel_open(connection, CHANNEL);
  must("channel.open", amqp_get_rpc_reply(connection));
}

amqp_connection_state_t connected(void) {
  amqp_connection_state_t connection;
  must("login", login(&connection, setting("AMQP_PASSWORD", "guest"), setting("AMQP_VHOST", "/")));
  connections[connection_count++] = connection;
  open_channel(connection);
  return connection;
}

void disconnect(amqp_connection_state_t connection) {
  for (size_t i = 0; i < connection_count; i++) {
    if (connections[i] == connection) {
      connections[i] = connections[--connection_count];
    }
  }
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
}

void set_alarm(bool on) {
  control(on ? "alarm on" : "alarm off");
  alarm_is_on = on;
}

void clean_up(void) {
  if (alarm_is_on) {
    set_alarm(false);
  }
  while (connection_count > 0) {
    disconnect(connections[0]);
  }
  amqp_connection_state_t connection = connected();
  while (queue_count > 0) {
    amqp_queue_delete(connection, CHANNEL, TEXT(queues[--queue_count]), 0, 0);
    must("queue.delete", amqp_get_rpc_reply(connection));
  }
  while (exchange_count > 0) {
    amqp_exchange_delete(connection, CHANNEL, TEXT(exchanges[--exchange_count]), 0);
    must("exchange.delete", amqp_get_rpc_reply(connection));
  }
  disconnect(connection);
}

amqp_connection_state_t connect_again(void) {
  amqp_connection_state_t connection;
  for (int i = 0; i < PATIENCE_SECONDS * 10; i++) {
    amqp_rpc_reply_t reply = login(&connection, setting("AMQP_PASSWORD", "guest"), setting("AMQP_VHOST", "/"));
    if (reply.reply_type == AMQP_RESPONSE_NORMAL) {
      connections[connection_count++] = connection;
      open_channel(connection);
      return connection;
    }
    if (connection != NULL) {
      amqp_destroy_connection(connection);
    }
    pause_ms(100);
  }
  fail("the broker did not come back");
}

amqp_queue_declare_ok_t *try_queue(amqp_connection_state_t connection, const char *queue, int flags,
                                          amqp_table_t arguments) {
  return amqp_queue_declare(connection, CHANNEL, TEXT(queue), (flags & PASSIVE) != 0, (flags & DURABLE) != 0,
                            (flags & EXCLUSIVE) != 0, (flags & AUTO_DELETE) != 0, arguments);
}

amqp_queue_declare_ok_t declare_queue(amqp_connection_state_t connection, const char *queue, int flags,
                                             amqp_table_t arguments) {
  if ((flags & (PASSIVE | EXCLUSIVE)) == 0) {
    queues[queue_count++] = queue;
  }
  amqp_queue_declare_ok_t *answer = try_queue(connection, queue, flags, arguments);
  must("queue.declare", amqp_get_rpc_reply(connection));
  return *answer;
}

uint32_t message_count(amqp_connection_state_t connection, const char *queue) {
  return declare_queue(connection, queue, PASSIVE, amqp_empty_table).message_count;
}

void try_exchange(amqp_connection_state_t connection, const char *exchange, const char *type, int flags) {
  amqp_exchange_declare(connection, CHANNEL, TEXT(exchange), TEXT(type), (flags & PASSIVE) != 0, (flags & DURABLE) != 0,
                        (flags & AUTO_DELETE) != 0, 0, amqp_empty_table);
}

void declare_exchange(amqp_connection_state_t connection, const char *exchange, const char *type, int flags) {
  exchanges[exchange_count++] = exchange;
  try_exchange(connection, exchange, type, flags);
  must("exchange.declare", amqp_get_rpc_reply(connection));
}

void bind_queue(amqp_connection_state_t connection, const char *queue, const char *exchange, const char *key,
                 amqp_table_t arguments) {
  amqp_queue_bind(connection, CHANNEL, TEXT(queue), TEXT(exchange), TEXT(key), arguments);
  must("queue.bind", amqp_get_rpc_reply(connection));
}

/* The RPC before was answered by channel.close with this code; the channel is opened again. */
void check_channel_closed(amqp_connection_state_t connection, const char *what, int code) {
  amqp_rpc_reply_t reply = amqp_get_rpc_reply(connection);
  amqp_bytes_t text;
  check_number(what, reply_code(reply, &text), code);
  if (reply.reply.id != AMQP_CHANNEL_CLOSE_METHOD) {
    fail("%s: not a channel.close", what);
  }
  must_send("channel.close-ok", amqp_send_method(connection, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD,
                                                 &(amqp_channel_close_ok_t){0}));
  open_channel(connection);
}

bool same_bytes(amqp_bytes_t one, amqp_bytes_t other) {
  return one.len == other.len && (one.len == 0 || memcmp(one.bytes, other.bytes, one.len) == 0);
}

void check_bytes(const char *what, amqp_bytes_t seen, const char *expected) {
  char *copy = strndup(seen.len > 0 ? seen.bytes : "", seen.len);
  check_text(what, copy, expected);
  free(copy);
}

void publish_body(amqp_connection_state_t connection, const char *exchange, const char *key,
                         amqp_basic_properties_t properties, amqp_bytes_t body) {
  int status = amqp_basic_publish(connection, CHANNEL, TEXT(exchange), TEXT(key), 0, 0, &properties, body);
  must_send("basic.publish", status);
}

void publish_with(amqp_connection_state_t connection, const char *exchange, const char *key,
                         amqp_basic_properties_t properties, const char *body) {
  publish_body(connection, exchange, key, properties, TEXT(body));
}

void publish(amqp_connection_state_t connection, const char *exchange, const char *key, const char *body) {
  publish_with(connection, exchange, key, (amqp_basic_properties_t){0}, body);
}

amqp_basic_properties_t delivery_mode(uint8_t mode) {
  return (amqp_basic_properties_t){._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = mode};
}

/* Asks for a message; false if the queue is empty. `left` may be NULL. */
bool get(amqp_connection_state_t connection, const char *queue, bool no_ack, amqp_envelope_t *envelope,
                uint32_t *left) {
  amqp_rpc_reply_t reply = amqp_basic_get(connection, CHANNEL, TEXT(queue), no_ack);
  must("basic.get", reply);
  if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD) {
    return false;
  }
  amqp_basic_get_ok_t *ok = reply.reply.decoded;
  *envelope = (amqp_envelope_t){.channel = CHANNEL,
                                .delivery_tag = ok->delivery_tag,
                                .redelivered = ok->redelivered,
                                .exchange = amqp_bytes_malloc_dup(ok->exchange),
                                .routing_key = amqp_bytes_malloc_dup(ok->routing_key)};
  if (left != NULL) {
    *left = ok->message_count;
  }
  must("read message", amqp_read_message(connection, CHANNEL, &envelope->message, 0));
  return true;
}

/* Asks for a message that is on its way. */
void get_soon(amqp_connection_state_t connection, const char *queue, amqp_envelope_t *envelope) {
  for (int i = 0; i < PATIENCE_SECONDS * 100; i++) {
    if (get(connection, queue, true, envelope, NULL)) {
      return;
    }
    pause_ms(10);
  }
  fail("nothing came to %s", queue);
}

void check_count_soon(amqp_connection_state_t connection, const char *what, const char *queue, uint32_t count) {
  for (int i = 0; i < PATIENCE_SECONDS * 100 && message_count(connection, queue) != count; i++) {
    pause_ms(10);
  }
  check_number(what, message_count(connection, queue), count);
}

amqp_bytes_t try_consume(amqp_connection_state_t connection, const char *queue, bool no_ack, bool exclusive) {
  amqp_basic_consume_ok_t *ok = amqp_basic_consume(connection, CHANNEL, TEXT(queue), amqp_empty_bytes, 0, no_ack,
                                                   exclusive, amqp_empty_table);
  return ok != NULL ? ok->consumer_tag : amqp_empty_bytes;
}

amqp_bytes_t consume(amqp_connection_state_t connection, const char *queue, bool no_ack) {
  amqp_bytes_t tag = try_consume(connection, queue, no_ack, false);
  must("basic.consume", amqp_get_rpc_reply(connection));
  return tag;
}

void set_prefetch(amqp_connection_state_t connection, uint16_t count) {
  amqp_basic_qos(connection, CHANNEL, 0, count, 0);
  must("basic.qos", amqp_get_rpc_reply(connection));
}

amqp_rpc_reply_t wait_delivery(amqp_connection_state_t connection, struct timeval patience,
                                      amqp_envelope_t *envelope) {
  return amqp_consume_message(connection, envelope, &patience, 0);
}

void next_delivery(amqp_connection_state_t connection, amqp_envelope_t *envelope) {
  must("delivery", wait_delivery(connection, (struct timeval){PATIENCE_SECONDS, 0}, envelope));
}

void check_no_delivery(amqp_connection_state_t connection, const char *what) {
  amqp_envelope_t envelope;
  amqp_rpc_reply_t reply = wait_delivery(connection, (struct timeval){0, 300000}, &envelope);
  check(what, reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT);
}

void check_next_delivery(amqp_connection_state_t connection, const char *what, const char *body) {
  amqp_envelope_t envelope;
  next_delivery(connection, &envelope);
  check_bytes(what, envelope.message.body, body);
  amqp_destroy_envelope(&envelope);
}

/* The next method that the broker sends, which no call asked for. */
amqp_method_t next_method(amqp_connection_state_t connection) {
  amqp_frame_t frame;
  must_send("a method", amqp_simple_wait_frame_noblock(connection, &frame, &(struct timeval){PATIENCE_SECONDS, 0}));
  if (frame.frame_type != AMQP_FRAME_METHOD) {
    fail("frame of type %d instead of a method", frame.frame_type);
  }
  return frame.payload.method;
}

void *expect_method(amqp_connection_state_t connection, amqp_method_number_t id) {
  amqp_method_t method = next_method(connection);
  if (method.id != id) {
    fail("expected %s, got %s", amqp_method_name(id), amqp_method_name(method.id));
  }
  return method.decoded;
}

void select_confirms(amqp_connection_state_t connection) {
  amqp_confirm_select(connection, CHANNEL);
  must("confirm.select", amqp_get_rpc_reply(connection));
}

const amqp_field_value_t *field(amqp_table_t table, const char *name) {
  for (int i = 0; i < table.num_entries; i++) {
    amqp_bytes_t key = table.entries[i].key;
    if (key.len == strlen(name) && memcmp(key.bytes, name, key.len) == 0) {
      return &table.entries[i].value;
    }
  }
  fail("no field %s", name);
}

const amqp_field_value_t *typed_field(amqp_table_t table, const char *name, amqp_field_value_kind_t kind) {
  const amqp_field_value_t *value = field(table, name);
  if (value->kind != kind) {
    fail("field %s is of type %c instead of %c", name, value->kind, kind);
  }
  return value;
}

void check_string_field(amqp_table_t table, const char *name, const char *expected) {
  check_bytes(name, typed_field(table, name, AMQP_FIELD_KIND_UTF8)->value.bytes, expected);
}
