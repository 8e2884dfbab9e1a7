/* What scenarios do with librabbitmq, on one channel of each connection.
 *
 * A function that begins with try_ leaves the broker's answer to the caller, who asks amqp_get_rpc_reply() for it; the
 * others fail() when they are refused. What a scenario leaves open or declared, clean_up() closes and deletes.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>

#include <amqp.h>
#include <amqp_framing.h>

enum { CHANNEL = 1 };
enum { PASSIVE = 1, DURABLE = 2, EXCLUSIVE = 4, AUTO_DELETE = 8 };
enum { TRANSIENT = 1, PERSISTENT = 2 };

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define TEXT(string) amqp_cstring_bytes(string)

/* Tables, written as TABLE(NUMBER("x-max-length", 5), STRING("x-match", "any")). */
#define ENTRIES(...) ((amqp_table_entry_t[]){__VA_ARGS__})
#define TABLE(...) ((amqp_table_t){LENGTH(ENTRIES(__VA_ARGS__)), ENTRIES(__VA_ARGS__)})
#define FIELD(name, type, member, ...) {TEXT(name), {AMQP_FIELD_KIND_##type, {.member = __VA_ARGS__}}}
#define NUMBER(name, value) FIELD(name, I32, i32, value)
#define STRING(name, value) FIELD(name, UTF8, bytes, TEXT(value))

/* ---- connections */

const char *setting(const char *name, const char *otherwise);
amqp_rpc_reply_t login(amqp_connection_state_t *connection, const char *password, const char *vhost);
int reply_code(amqp_rpc_reply_t reply, amqp_bytes_t *text);
void must(const char *what, amqp_rpc_reply_t reply);
void must_send(const char *what, int status);
void open_channel(amqp_connection_state_t connection);
amqp_connection_state_t connected(void);
amqp_connection_state_t connect_again(void);
void disconnect(amqp_connection_state_t connection);
void set_alarm(bool on);
void clean_up(void);

/* ---- queues and exchanges */

amqp_queue_declare_ok_t *try_queue(amqp_connection_state_t connection, const char *queue, int flags, amqp_table_t
                                   arguments);
amqp_queue_declare_ok_t declare_queue(amqp_connection_state_t connection, const char *queue, int flags, amqp_table_t
                                      arguments);
uint32_t message_count(amqp_connection_state_t connection, const char *queue);
void check_count_soon(amqp_connection_state_t connection, const char *what, const char *queue, uint32_t count);
void try_exchange(amqp_connection_state_t connection, const char *exchange, const char *type, int flags);
void declare_exchange(amqp_connection_state_t connection, const char *exchange, const char *type, int flags);
void bind_queue(amqp_connection_state_t connection, const char *queue, const char *exchange, const char *key,
                amqp_table_t arguments);
void check_channel_closed(amqp_connection_state_t connection, const char *what, int code);

/* ---- messages */

void publish_body(amqp_connection_state_t connection, const char *exchange, const char *key, amqp_basic_properties_t
                  properties, amqp_bytes_t body);
void publish_with(amqp_connection_state_t connection, const char *exchange, const char *key, amqp_basic_properties_t
                  properties, const char *body);
void publish(amqp_connection_state_t connection, const char *exchange, const char *key, const char *body);
amqp_basic_properties_t delivery_mode(uint8_t mode);
void select_confirms(amqp_connection_state_t connection);
bool get(amqp_connection_state_t connection, const char *queue, bool no_ack, amqp_envelope_t *envelope, uint32_t *left);
void get_soon(amqp_connection_state_t connection, const char *queue, amqp_envelope_t *envelope);
amqp_bytes_t try_consume(amqp_connection_state_t connection, const char *queue, bool no_ack, bool exclusive);
amqp_bytes_t consume(amqp_connection_state_t connection, const char *queue, bool no_ack);
void set_prefetch(amqp_connection_state_t connection, uint16_t count);
amqp_rpc_reply_t wait_delivery(amqp_connection_state_t connection, struct timeval patience, amqp_envelope_t *envelope);
void next_delivery(amqp_connection_state_t connection, amqp_envelope_t *envelope);
void check_no_delivery(amqp_connection_state_t connection, const char *what);
void check_next_delivery(amqp_connection_state_t connection, const char *what, const char *body);
amqp_method_t next_method(amqp_connection_state_t connection);
void *expect_method(amqp_connection_state_t connection, amqp_method_number_t id);

/* ---- values */

const amqp_field_value_t *field(amqp_table_t table, const char *name);
const amqp_field_value_t *typed_field(amqp_table_t table, const char *name, amqp_field_value_kind_t kind);
void check_string_field(amqp_table_t table, const char *name, const char *expected);
bool same_bytes(amqp_bytes_t one, amqp_bytes_t other);
void check_bytes(const char *what, amqp_bytes_t seen, const char *expected);
void pause_ms(long milliseconds);

#endif
