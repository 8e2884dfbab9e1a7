// Program interop does the scenarios of interop/families/README.md with github.com/rabbitmq/amqp091-go.
//
// The client has no recovery of its own; its documentation has the application dial again when NotifyClose tells.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"math"
	"os"
	"sort"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var scenarios = []struct {
	name string
	run  func(*scenario)
}{
	{"connect", connect},
	{"auth-failure", authFailure},
	{"declare", declare},
	{"confirms", confirms},
	{"mandatory-return", mandatoryReturn},
	{"consume", consume},
	{"get", get},
	{"exclusive", exclusive},
	{"auto-delete", autoDelete},
	{"exchange-bindings", exchangeBindings},
	{"headers", headers},
	{"dead-letter", deadLetter},
	{"ttl", ttl},
	{"priority", priority},
	{"direct-reply-to", directReplyTo},
	{"large-message", largeMessage},
	{"cancel-notify", cancelNotify},
	{"blocked", blocked},
	{"recovery", recovery},
}

func main() {
	var r report
	for _, s := range scenarios {
		if chosen(s.name, os.Args[1:]) {
			r.run(s.name, s.run)
		}
	}
	r.end()
}

func chosen(name string, names []string) bool {
	for _, one := range names {
		if one == name {
			return true
		}
	}
	return len(names) == 0
}

func connect(s *scenario) {
	conn := s.dial()
	product, _ := conn.Properties["product"].(string)
	s.Check("server is named", product != "", true)
	capabilities, _ := conn.Properties["capabilities"].(amqp.Table)
	for _, name := range []string{"publisher_confirms", "consumer_cancel_notify", "basic.nack"} {
		s.Check(name, capabilities[name], true)
	}
	ch := result(conn.Channel())
	s.Check("channel closes", ch.Close(), nil)
	s.Check("connection closes", conn.Close(), nil)
}

func authFailure(s *scenario) {
	uri := result(amqp.ParseURI(os.Getenv("AMQP_URL")))
	wrong := uri
	wrong.Password = "wrong"
	_, err := amqp.Dial(wrong.String())
	s.Check("wrong password", err, amqp.ErrCredentials)
	s.Check("is ACCESS_REFUSED", code(err), amqp.AccessRefused)

	uri.Vhost = "interop.no-such"
	_, err = amqp.Dial(uri.String())
	// The client has one error for whatever is answered to connection.open.
	s.Check("unknown vhost", err, amqp.ErrVhost)
}

func declare(s *scenario) {
	const name = "interop.declare"
	conn := s.dial()
	ch := result(conn.Channel())
	for i := 0; i < 2; i++ {
		must(ch.ExchangeDeclare(name, "direct", true, false, false, false, nil))
		result(ch.QueueDeclare(name, true, false, false, false, nil))
	}
	s.deleteExchangeAfterwards(name)
	s.deleteQueueAfterwards(name)
	must(ch.QueueBind(name, "key", name, false, nil))

	consumer := result(conn.Channel())
	deliveries(consumer, name, false)
	s.Check("passive: a consumer", result(ch.QueueInspect(name)), amqp.Queue{Name: name, Consumers: 1})
	must(consumer.Close())
	confirmed := newPublisher(ch)
	for i := 0; i < 3; i++ {
		confirmed.publish(name, "key", publishing("routed"))
	}
	s.Check("passive: messages", result(ch.QueueInspect(name)), amqp.Queue{Name: name, Messages: 3})

	s.checkRefused("passive, queue not there", amqp.NotFound, conn, inspectQueue("interop.no-such"))
	s.checkRefused("passive, exchange not there", amqp.NotFound, conn, inspectExchange("interop.no-such", "direct"))
	s.checkRefused("other durability", amqp.PreconditionFailed, conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, false, false, false, false, nil)
		return err
	})
	s.checkRefused("other argument", amqp.PreconditionFailed, conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-max-length": 5})
		return err
	})

	must(ch.QueueUnbind(name, "key", name, nil))
	confirmed.publish(name, "key", publishing("not routed"))
	s.Check("purge after unbind", result(ch.QueuePurge(name, false)), 3)
	confirmed.publish("", name, publishing("one"))
	s.Check("delete", result(ch.QueueDelete(name, false, false, false)), 1)
	s.Check("delete again", result(ch.QueueDelete(name, false, false, false)), 0)

	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	err := ch.ExchangeDeclare("interop.odd", "no-such-type", false, false, false, false, nil)
	s.Check("unknown exchange type", code(err), amqp.CommandInvalid)
	s.Check("closes the connection", next("NotifyClose", closed).Code, amqp.CommandInvalid)
}

func confirms(s *scenario) {
	const queue, messages = "interop.confirms", 1000
	ch := s.channel()
	result(ch.QueueDeclare(queue, true, false, false, false, nil))
	s.deleteQueueAfterwards(queue)
	must(ch.Confirm(false))
	confirmations := ch.NotifyPublish(make(chan amqp.Confirmation, messages))
	for i := 1; i <= messages; i++ {
		message := publishing(fmt.Sprint(i))
		message.DeliveryMode = amqp.Persistent
		publish(ch, "", queue, message)
	}
	confirmed := 0
	for i := 1; i <= messages; i++ {
		if next("confirmation", confirmations) == (amqp.Confirmation{DeliveryTag: uint64(i), Ack: true}) {
			confirmed++
		}
	}
	s.Check("all confirmed", confirmed, messages)
	s.Check("all in the queue", messageCount(ch, queue), messages)
	inOrder := 0
	received := deliveries(ch, queue, true)
	for i := 1; i <= messages; i++ {
		if nextBody(received) == fmt.Sprint(i) {
			inOrder++
		}
	}
	s.Check("in order", inOrder, messages)
}

func mandatoryReturn(s *scenario) {
	const exchange = "interop.return"
	ch := s.channel()
	s.exchange(ch, exchange, "direct")
	must(ch.Confirm(false))
	// Without buffers: what is received first was sent first.
	returns := ch.NotifyReturn(make(chan amqp.Return))
	confirmations := ch.NotifyPublish(make(chan amqp.Confirmation))
	message := amqp.Publishing{Body: []byte("come back"), MessageId: "id-1", Headers: amqp.Table{"try": int32(7)}}
	must(ch.PublishWithContext(context.Background(), exchange, "nobody", true, false, message))
	select {
	case returned := <-returns:
		s.Check("reply code", int(returned.ReplyCode), amqp.NoRoute)
		s.Check("reply text", returned.ReplyText, "NO_ROUTE")
		s.Check("exchange", returned.Exchange, exchange)
		s.Check("routing key", returned.RoutingKey, "nobody")
		s.Check("body", string(returned.Body), "come back")
		s.Check("message id", returned.MessageId, "id-1")
		s.Check("headers", returned.Headers, amqp.Table{"try": int32(7)})
	case <-confirmations:
		panic("confirmed before it was returned")
	case <-time.After(patience):
		panic("neither returned nor confirmed")
	}
	s.Check("confirmed after it", next("confirmation", confirmations), amqp.Confirmation{DeliveryTag: 1, Ack: true})
}

func consume(s *scenario) {
	const queue = "interop.consume"
	conn := s.dial()
	ch, other := result(conn.Channel()), s.channel()
	s.queue(other, queue, nil)
	for i := 1; i <= 10; i++ {
		publish(other, "", queue, publishing(fmt.Sprint(i)))
	}
	must(ch.Qos(3, 0, false))
	messages := result(ch.Consume(queue, "tag", false, false, false, false, nil))
	var first []amqp.Delivery
	for i := 1; i <= 3; i++ {
		message := next("delivery", messages)
		s.Check("delivered at once", string(message.Body), fmt.Sprint(i))
		first = append(first, message)
	}
	s.checkNothing("no 4th until an ack", messages)
	must(first[1].Ack(true)) // 1 and 2
	s.Check("multiple ack makes room", nextBody(messages), "4")
	s.Check("for two", nextBody(messages), "5")
	s.checkNothing("and not more", messages)
	must(first[2].Nack(false, true))
	again := next("delivery", messages)
	s.Check("nack with requeue comes again", string(again.Body), "3")
	s.Check("as redelivered", again.Redelivered, true)
	must(again.Reject(false))
	s.Check("reject makes room", nextBody(messages), "6")

	must(ch.Cancel("tag", false))
	_, open := <-messages
	s.Check("no delivery after cancel", open, false)
	s.Check("no consumer is left", result(other.QueueInspect(queue)).Consumers, 0)
	s.Check("ready while 4, 5, 6 are unacknowledged", messageCount(other, queue), 4)
	must(ch.Close())
	s.checkCount("all there again when the channel is closed", other, queue, 7)
	rest := deliveries(other, queue, true)
	for i := 4; i <= 10; i++ {
		message := next("delivery", rest)
		s.Check("in their order, the rejected one gone", string(message.Body), fmt.Sprint(i))
		s.Check("redelivered if delivered before", message.Redelivered, i <= 6)
	}
}

func get(s *scenario) {
	const name = "interop.get"
	conn := s.dial()
	ch := result(conn.Channel())
	s.exchange(ch, name, "direct")
	s.queue(ch, name, nil)
	must(ch.QueueBind(name, "key", name, false, nil))
	confirmed := newPublisher(ch)
	confirmed.publish(name, "key", publishing("first"))
	confirmed.publish(name, "key", publishing("second"))

	message, ok := result2(ch.Get(name, false))
	s.Check("a message", ok, true)
	s.Check("body", string(message.Body), "first")
	s.Check("exchange", message.Exchange, name)
	s.Check("routing key", message.RoutingKey, "key")
	s.Check("not redelivered", message.Redelivered, false)
	s.Check("messages left", message.MessageCount, uint32(1))
	must(message.Nack(false, true))
	message, _ = result2(ch.Get(name, false))
	s.Check("the message again", string(message.Body), "first")
	s.Check("redelivered", message.Redelivered, true)
	must(message.Ack(false))
	message, _ = result2(ch.Get(name, true))
	s.Check("the other", string(message.Body), "second")
	s.Check("none left", message.MessageCount, uint32(0))
	_, ok = result2(ch.Get(name, true))
	s.Check("empty", ok, false)
	must(ch.Close())
	s.Check("acknowledged is gone", messageCount(result(conn.Channel()), name), 0)
}

func exclusive(s *scenario) {
	owner, other := s.dial(), s.dial()
	queue := result(result(owner.Channel()).QueueDeclare("", false, false, true, false, nil))
	s.Check("the server names the queue", strings.HasPrefix(queue.Name, "amq.gen-"), true)
	s.checkRefused("another connection", amqp.ResourceLocked, other, inspectQueue(queue.Name))
	must(owner.Close())
	s.checkRefused("gone with its connection", amqp.NotFound, other, inspectQueue(queue.Name))

	const name = "interop.exclusive"
	ch := result(other.Channel())
	s.queue(ch, name, nil)
	result(ch.Consume(name, "", false, true, false, false, nil))
	s.checkRefused("a second consumer", amqp.AccessRefused, s.dial(), func(ch *amqp.Channel) error {
		_, err := ch.Consume(name, "", false, false, false, false, nil)
		return err
	})
}

func autoDelete(s *scenario) {
	const name, bound = "interop.auto-delete", "interop.bound"
	conn := s.dial()
	ch := result(conn.Channel())
	result(ch.QueueDeclare(name, false, true, false, false, nil))
	s.deleteQueueAfterwards(name)
	s.Check("stays while it had no consumer", messageCount(ch, name), 0)
	for _, tag := range []string{"first", "last"} {
		result(ch.Consume(name, tag, false, false, false, false, nil))
	}
	must(ch.Cancel("first", false))
	s.Check("stays while there is a consumer", messageCount(ch, name), 0)
	must(ch.Cancel("last", false))
	s.checkRefused("queue goes with its last consumer", amqp.NotFound, conn, inspectQueue(name))

	must(ch.ExchangeDeclare(name, "fanout", false, true, false, false, nil))
	s.deleteExchangeAfterwards(name)
	s.queue(ch, bound, nil)
	for _, key := range []string{"first", "last"} {
		must(ch.QueueBind(bound, key, name, false, nil))
	}
	must(ch.QueueUnbind(bound, "first", name, nil))
	s.Check("exchange stays while there is a binding", inspectExchange(name, "fanout")(ch), nil)
	must(ch.QueueUnbind(bound, "last", name, nil))
	s.checkRefused("exchange goes with its last binding", amqp.NotFound, conn, inspectExchange(name, "fanout"))
}

func exchangeBindings(s *scenario) {
	const topic, fanout, queue = "interop.topic", "interop.fanout", "interop.e2e"
	ch := s.channel()
	s.exchange(ch, topic, "topic")
	s.exchange(ch, fanout, "fanout")
	s.queue(ch, queue, nil)
	must(ch.QueueBind(queue, "", fanout, false, nil))
	must(ch.ExchangeBind(fanout, "*.red.#", topic, false, nil))
	publish(ch, topic, "a.blue", publishing("does not match"))
	publish(ch, topic, "a.red.b", publishing("through both"))
	message := getSoon(ch, queue)
	s.Check("comes through both", string(message.Body), "through both")
	s.Check("with its exchange", message.Exchange, topic)
	s.Check("and its routing key", message.RoutingKey, "a.red.b")
	must(ch.ExchangeUnbind(fanout, "*.red.#", topic, false, nil))
	publish(ch, topic, "a.red.b", publishing("after unbind"))
	publish(ch, fanout, "", publishing("last"))
	s.Check("not after unbind", string(getSoon(ch, queue).Body), "last")
}

func headers(s *scenario) {
	ch := s.channel()
	checkHeaderTypes(s, ch)

	const exchange = "interop.headers"
	s.exchange(ch, exchange, "headers")
	for _, match := range []string{"all", "any"} {
		queue := "interop." + match
		s.queue(ch, queue, nil)
		args := amqp.Table{"x-match": match, "format": "pdf", "pages": int32(3)}
		must(ch.QueueBind(queue, "", exchange, false, args))
	}
	confirmed := newPublisher(ch)
	for _, message := range []amqp.Publishing{
		{Body: []byte("none"), Headers: amqp.Table{"format": "png"}},
		{Body: []byte("one"), Headers: amqp.Table{"format": "pdf", "pages": int32(4)}},
		{Body: []byte("both"), Headers: amqp.Table{"format": "pdf", "pages": int32(3), "more": "yes"}},
	} {
		confirmed.publish(exchange, "", message)
	}
	s.Check("x-match any takes one", string(getSoon(ch, "interop.any").Body), "one")
	s.Check("x-match any takes both", string(getSoon(ch, "interop.any").Body), "both")
	s.Check("x-match all takes both", string(getSoon(ch, "interop.all").Body), "both")
	s.Check("any has no more", messageCount(ch, "interop.any"), 0)
	s.Check("all has no more", messageCount(ch, "interop.all"), 0)
}

func checkHeaderTypes(s *scenario, ch *amqp.Channel) {
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	sent := amqp.Publishing{
		Body:            []byte("all of it"),
		ContentType:     "text/plain",
		ContentEncoding: "utf-8",
		DeliveryMode:    amqp.Persistent,
		Priority:        4,
		CorrelationId:   "correlation",
		ReplyTo:         "reply.here",
		Expiration:      "60000",
		MessageId:       "message",
		Timestamp:       time.Unix(1700000000, 0),
		Type:            "greeting",
		UserId:          os.Getenv("AMQP_USER"),
		AppId:           "interop",
		Headers: amqp.Table{
			"true":          true,
			"false":         false,
			"uint8 maximum": uint8(math.MaxUint8),
			"int8 minimum":  int8(math.MinInt8),
			"int8 maximum":  int8(math.MaxInt8),
			"int16 minimum": int16(math.MinInt16),
			"int16 maximum": int16(math.MaxInt16),
			"int32 minimum": int32(math.MinInt32),
			"int32 maximum": int32(math.MaxInt32),
			"int64 minimum": int64(math.MinInt64),
			"int64 maximum": int64(math.MaxInt64),
			"float":         float32(1.5),
			"double":        0.1,
			"decimal":       amqp.Decimal{Scale: 2, Value: 31415},
			"string":        "grüß dich, 世界 🐰",
			"empty string":  "",
			"bytes":         everyByte,
			"timestamp":     time.Unix(4102444800, 0),
			"null":          nil,
			"table":         amqp.Table{"inner": amqp.Table{"number": int32(-1)}},
			"empty table":   amqp.Table{},
			"array":         []interface{}{int32(1), "two", amqp.Table{}, nil},
			"empty array":   []interface{}(nil), // as the client reads it
		},
	}
	const queue = "interop.headers"
	s.queue(ch, queue, nil)
	publish(ch, "", queue, sent)
	seen := getSoon(ch, queue)
	for _, name := range names(sent.Headers) {
		s.Check(name, seen.Headers[name], sent.Headers[name])
	}
	s.Check("number of headers", len(seen.Headers), len(sent.Headers))
	sent.Headers = nil
	s.Check("all properties", amqp.Publishing{
		Body:            seen.Body,
		ContentType:     seen.ContentType,
		ContentEncoding: seen.ContentEncoding,
		DeliveryMode:    seen.DeliveryMode,
		Priority:        seen.Priority,
		CorrelationId:   seen.CorrelationId,
		ReplyTo:         seen.ReplyTo,
		Expiration:      seen.Expiration,
		MessageId:       seen.MessageId,
		Timestamp:       seen.Timestamp,
		Type:            seen.Type,
		UserId:          seen.UserId,
		AppId:           seen.AppId,
	}, sent)
}

func names(table amqp.Table) []string {
	var names []string
	for name := range table {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// ---- what happens to messages in queues

// deathOf is the entry of x-death for this queue and reason.
func deathOf(message amqp.Delivery, queue, reason string) amqp.Table {
	deaths, _ := message.Headers["x-death"].([]interface{})
	for _, entry := range deaths {
		if death, ok := entry.(amqp.Table); ok && death["queue"] == queue && death["reason"] == reason {
			return death
		}
	}
	panic(fmt.Sprintf("not in x-death: %s in %s", reason, queue))
}

// checkDeath sees a message in interop.dead that died once.
func (s *scenario) checkDeath(ch *amqp.Channel, queue, reason, body, key string) {
	message := getSoon(ch, "interop.dead")
	s.Check(reason, string(message.Body), body)
	s.Check("routing key asked for", message.RoutingKey, key)
	s.Check("exchange", message.Exchange, "interop.dlx")
	death := deathOf(message, queue, reason)
	s.Check("count", death["count"], int64(1))
	s.Check("exchange it was published to", death["exchange"], "")
	s.Check("routing keys", death["routing-keys"], []interface{}{queue})
	when, _ := death["time"].(time.Time)
	age := time.Since(when)
	s.Check("time is now, in seconds", -time.Minute < age && age < time.Minute, true)
	s.Check("x-first-death-reason", message.Headers["x-first-death-reason"], reason)
	s.Check("x-first-death-queue", message.Headers["x-first-death-queue"], queue)
	s.Check("x-first-death-exchange", message.Headers["x-first-death-exchange"], "")
}

func rejectNext(ch *amqp.Channel, queue string) {
	consumer := "rejecting " + queue
	messages := result(ch.Consume(queue, consumer, false, false, false, false, nil))
	must(next("delivery", messages).Reject(false))
	must(ch.Cancel(consumer, false))
}

func deadLetter(s *scenario) {
	ch := s.channel()
	s.exchange(ch, "interop.dlx", "fanout")
	s.queue(ch, "interop.dead", nil)
	must(ch.QueueBind("interop.dead", "", "interop.dlx", false, nil))

	s.queue(ch, "interop.rejecting", amqp.Table{
		"x-dead-letter-exchange": "interop.dlx", "x-dead-letter-routing-key": "dead"})
	publish(ch, "", "interop.rejecting", publishing("bad"))
	rejectNext(ch, "interop.rejecting")
	s.checkDeath(ch, "interop.rejecting", "rejected", "bad", "dead")

	s.queue(ch, "interop.expiring", amqp.Table{"x-dead-letter-exchange": "interop.dlx", "x-message-ttl": 1})
	publish(ch, "", "interop.expiring", publishing("old"))
	s.checkDeath(ch, "interop.expiring", "expired", "old", "interop.expiring")

	s.queue(ch, "interop.limited", amqp.Table{
		"x-dead-letter-exchange": "interop.dlx", "x-dead-letter-routing-key": "dead", "x-max-length": 1})
	publish(ch, "", "interop.limited", publishing("oldest"))
	publish(ch, "", "interop.limited", publishing("newest"))
	s.checkDeath(ch, "interop.limited", "maxlen", "oldest", "dead")

	// Rejected in one queue, expired in the other, which sends it back: twice around.
	s.queue(ch, "interop.there", amqp.Table{
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "interop.back"})
	s.queue(ch, "interop.back", amqp.Table{
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "interop.there", "x-message-ttl": 1})
	publish(ch, "", "interop.there", publishing("around"))
	rejectNext(ch, "interop.there")
	rejectNext(ch, "interop.there")
	message := getSoon(ch, "interop.there")
	s.Check("rejected twice", deathOf(message, "interop.there", "rejected")["count"], int64(2))
	s.Check("expired twice", deathOf(message, "interop.back", "expired")["count"], int64(2))
}

func ttl(s *scenario) {
	conn := s.dial()
	ch := result(conn.Channel())
	s.queue(ch, "interop.ttl-short", amqp.Table{"x-message-ttl": 100})
	s.queue(ch, "interop.ttl-long", amqp.Table{"x-message-ttl": 60000})
	publish(ch, "", "interop.ttl-short", amqp.Publishing{Expiration: "60000"})
	publish(ch, "", "interop.ttl-long", amqp.Publishing{Expiration: "100"})
	publish(ch, "", "interop.ttl-long", publishing("stays"))
	s.checkCount("both are in the queue", ch, "interop.ttl-long", 2)
	s.checkCount("x-message-ttl is smaller", ch, "interop.ttl-short", 0)
	s.checkCount("expiration is smaller", ch, "interop.ttl-long", 1)
	s.Check("neither of them", string(getSoon(ch, "interop.ttl-long").Body), "stays")

	s.queue(ch, "interop.expires", amqp.Table{"x-expires": 300})
	time.Sleep(time.Second) // Asking for it sooner would be using it.
	s.checkRefused("x-expires", amqp.NotFound, conn, inspectQueue("interop.expires"))
}

func priority(s *scenario) {
	const queue = "interop.priority"
	ch := s.channel()
	s.queue(ch, queue, amqp.Table{"x-max-priority": 10})
	confirmed := newPublisher(ch)
	confirmed.publish("", queue, publishing("none"))
	for _, priority := range []uint8{1, 5, 3, 0, 9} { // The client does not write a priority of 0.
		confirmed.publish("", queue, amqp.Publishing{Body: []byte(fmt.Sprint(priority)), Priority: priority})
	}
	confirmed.publish("", queue, amqp.Publishing{Body: []byte("5 again"), Priority: 5})
	messages := deliveries(ch, queue, true)
	for _, expected := range []string{"9", "5", "5 again", "3", "1", "none", "0"} {
		s.Check("by priority", nextBody(messages), expected)
	}
}

func directReplyTo(s *scenario) {
	const requests, pseudoQueue = "interop.requests", "amq.rabbitmq.reply-to"
	client, server := s.channel(), s.channel()
	s.queue(server, requests, nil)
	go serve(server, deliveries(server, requests, true))
	answers := deliveries(client, pseudoQueue, true)
	answered := 0
	for i := 0; i < 100; i++ {
		id := fmt.Sprint("call ", i)
		publish(client, "", requests, amqp.Publishing{Body: []byte(id), CorrelationId: id, ReplyTo: pseudoQueue})
		answer := next("answer", answers)
		if answer.CorrelationId == id && string(answer.Body) == "answer to "+id {
			answered++
		}
	}
	s.Check("each call has its own answer", answered, 100)
}

func serve(ch *amqp.Channel, requests <-chan amqp.Delivery) {
	for request := range requests {
		answer := amqp.Publishing{CorrelationId: request.CorrelationId, Body: append([]byte("answer to "), request.Body...)}
		if err := ch.PublishWithContext(context.Background(), "", request.ReplyTo, false, false, answer); err != nil {
			log.Print(err)
		}
	}
}

func largeMessage(s *scenario) {
	const queue = "interop.large"
	conn := s.dial()
	ch := result(conn.Channel())
	s.queue(ch, queue, nil)
	messages := deliveries(ch, queue, true)
	frameMax := conn.Config.FrameSize
	for _, size := range []int{0, frameMax - 8, frameMax - 7, 20 << 20} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i*31 + i/251)
		}
		publish(ch, "", queue, amqp.Publishing{Body: body})
		s.Check(fmt.Sprintf("%d bytes", size), bytes.Equal(next("delivery", messages).Body, body), true)
	}
}

// ---- what the broker tells

func cancelNotify(s *scenario) {
	const queue = "interop.cancelled"
	ch, other := s.channel(), s.channel()
	s.queue(ch, queue, nil)
	cancelled := ch.NotifyCancel(make(chan string, 1))
	messages := result(ch.Consume(queue, "tag", false, false, false, false, nil))
	result(other.QueueDelete(queue, false, false, false))
	s.Check("the consumer is cancelled", next("NotifyCancel", cancelled), "tag")
	_, open := <-messages
	s.Check("its deliveries end", open, false)
	s.queue(ch, queue, nil)
	publish(ch, "", queue, publishing("still here"))
	s.Check("the channel works on", nextBody(deliveries(ch, queue, true)), "still here")
}

func blocked(s *scenario) {
	const queue = "interop.blocked"
	conn, other := s.dial(), s.channel()
	s.queue(other, queue, nil)
	ch := result(conn.Channel())
	notices := conn.NotifyBlocked(make(chan amqp.Blocking, 2))
	control("alarm", "on")
	s.Cleanup(func() { control("alarm", "off") })
	// The broker measures its memory from time to time: the first message may come before the alarm.
	published := 0
	s.Eventually("blocked", func() bool {
		publish(ch, "", queue, publishing("patience"))
		published++
		time.Sleep(50 * time.Millisecond)
		return len(notices) > 0
	})
	notice := next("NotifyBlocked", notices)
	s.Check("active", notice.Active, true)
	s.Check("with a reason", notice.Reason != "", true)
	control("alarm", "off")
	s.Check("unblocked", next("NotifyBlocked", notices).Active, false)
	s.checkCount("what was published arrives", other, queue, published)
}

func recovery(s *scenario) {
	const name = "interop.recovery"
	conn := s.dial()
	ch := result(conn.Channel())
	must(ch.ExchangeDeclare(name, "direct", true, false, false, false, nil))
	s.deleteExchangeAfterwards(name)
	result(ch.QueueDeclare(name, true, false, false, false, nil))
	s.deleteQueueAfterwards(name)
	must(ch.QueueBind(name, "key", name, false, nil))
	confirmed := newPublisher(ch)
	confirmed.publish(name, "key", amqp.Publishing{Body: []byte("kept 1"), DeliveryMode: amqp.Persistent})
	confirmed.publish(name, "key", amqp.Publishing{Body: []byte("lost"), DeliveryMode: amqp.Transient})
	confirmed.publish(name, "key", amqp.Publishing{Body: []byte("kept 2"), DeliveryMode: amqp.Persistent})
	must(ch.Qos(1, 0, false))
	messages := deliveries(ch, name, false)
	s.Check("consuming", nextBody(messages), "kept 1")

	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	control("restart")
	s.Check("the application is told", next("NotifyClose", closed).Code, amqp.ConnectionForced)
	_, open := <-messages
	s.Check("deliveries end", open, false)

	ch = result(s.redial().Channel())
	s.Check("exchange is there", inspectExchange(name, "direct")(ch), nil)
	s.Check("queue is there, with the persistent messages", messageCount(ch, name), 2)
	messages = deliveries(ch, name, true)
	s.Check("persistent message", nextBody(messages), "kept 1")
	s.Check("no transient one", nextBody(messages), "kept 2")
	publish(ch, name, "key", publishing("by the old binding"))
	s.Check("publishing and consuming go on", nextBody(messages), "by the old binding")
}

// redial connects again as soon as the broker is back.
func (s *scenario) redial() *amqp.Connection {
	s.Eventually("connected again", func() bool {
		conn, err := amqp.Dial(os.Getenv("AMQP_URL"))
		return err == nil && conn.Close() == nil
	})
	return s.dial()
}
