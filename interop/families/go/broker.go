package main

import (
	"context"
	"errors"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// quiet is how long nothing must come to say that nothing comes.
const quiet = 300 * time.Millisecond

func (s *scenario) dial() *amqp.Connection {
	conn := result(amqp.Dial(os.Getenv("AMQP_URL")))
	s.Cleanup(func() {
		if !conn.IsClosed() {
			must(conn.Close())
		}
	})
	return conn
}

func (s *scenario) channel() *amqp.Channel { return result(s.dial().Channel()) }

// afterwards calls a function with a channel of its own when the scenario is over.
func (s *scenario) afterwards(function func(*amqp.Channel) error) {
	s.Cleanup(func() {
		conn := result(amqp.Dial(os.Getenv("AMQP_URL")))
		defer conn.Close()
		must(function(result(conn.Channel())))
	})
}

func (s *scenario) deleteQueueAfterwards(name string) {
	s.afterwards(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(name, false, false, false)
		return err
	})
}

func (s *scenario) deleteExchangeAfterwards(name string) {
	s.afterwards(func(ch *amqp.Channel) error { return ch.ExchangeDelete(name, false, false) })
}

// queue declares a transient queue.
func (s *scenario) queue(ch *amqp.Channel, name string, args amqp.Table) {
	result(ch.QueueDeclare(name, false, false, false, false, args))
	s.deleteQueueAfterwards(name)
}

// exchange declares a transient exchange.
func (s *scenario) exchange(ch *amqp.Channel, name, kind string) {
	must(ch.ExchangeDeclare(name, kind, false, false, false, false, nil))
	s.deleteExchangeAfterwards(name)
}

func publishing(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

func publish(ch *amqp.Channel, exchange, key string, message amqp.Publishing) {
	must(ch.PublishWithContext(context.Background(), exchange, key, false, false, message))
}

// A publisher waits for the broker's word on each message. It does so by NotifyPublish: the client's deferred
// confirmations wait for ever, up to version 1.5 at least, when the word is faster than the publishing goroutine.
type publisher struct {
	channel       *amqp.Channel
	confirmations <-chan amqp.Confirmation
}

func newPublisher(ch *amqp.Channel) publisher {
	must(ch.Confirm(false))
	return publisher{ch, ch.NotifyPublish(make(chan amqp.Confirmation, 1))}
}

func (p publisher) publish(exchange, key string, message amqp.Publishing) {
	publish(p.channel, exchange, key, message)
	if !next("confirmation", p.confirmations).Ack {
		panic("not confirmed")
	}
}

func deliveries(ch *amqp.Channel, queue string, autoAck bool) <-chan amqp.Delivery {
	return result(ch.Consume(queue, "", autoAck, false, false, false, nil))
}

func nextBody(messages <-chan amqp.Delivery) string { return string(next("delivery", messages).Body) }

func (s *scenario) checkNothing(what string, messages <-chan amqp.Delivery) {
	select {
	case message := <-messages:
		s.Check(what, string(message.Body), nil)
	case <-time.After(quiet):
		s.Check(what, nil, nil)
	}
}

func messageCount(ch *amqp.Channel, queue string) int { return result(ch.QueueInspect(queue)).Messages }

func (s *scenario) checkCount(what string, ch *amqp.Channel, queue string, count int) {
	s.Eventually(what, func() bool { return messageCount(ch, queue) == count })
}

// getSoon gets a message that is on its way.
func getSoon(ch *amqp.Channel, queue string) amqp.Delivery {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if message, ok := result2(ch.Get(queue, true)); ok {
			return message
		}
	}
	panic("nothing came to " + queue)
}

func code(err error) int {
	var refusal *amqp.Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return 0
}

// checkRefused lets a new channel be refused something, and sees that only the channel is closed.
func (s *scenario) checkRefused(what string, expected int, conn *amqp.Connection, function func(*amqp.Channel) error) {
	ch := result(conn.Channel())
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	s.Check(what, code(function(ch)), expected)
	s.Check("the channel is closed", next("NotifyClose", closed).Code, expected)
	must(result(conn.Channel()).Close())
}

func inspectQueue(name string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		_, err := ch.QueueInspect(name)
		return err
	}
}

func inspectExchange(name, kind string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, kind, false, false, false, false, nil)
	}
}
