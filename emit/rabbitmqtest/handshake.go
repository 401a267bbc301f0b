package rabbitmqtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// What RabbitMQ proposes when it is not told otherwise.
const (
	channelMax       = 2047
	heartbeatSeconds = 60
	handshakeLimit   = 10 * time.Second
)

func serverProperties() table {
	return table{
		"capabilities": table{
			"publisher_confirms": true, "basic.nack": true, "connection.blocked": true, "authentication_failure_close": true,
		},
		"cluster_name": "broker@localhost", "platform": runtime.Version(), "product": "RabbitMQ", "version": "3.10.8",
		"information": "A simulated broker",
	}
}

// handshake takes the connection from its first octet to connection.open-ok.
func (c *conn) handshake() error {
	if err := c.nc.SetReadDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return fmt.Errorf("bound handshake: %w", err)
	}
	greeting, err := c.fill(8)
	if err != nil {
		return err
	}
	if !bytes.Equal(greeting, []byte("AMQP\x00\x00\x09\x01")) {
		c.out.add(func(b []byte) []byte { return append(b, "AMQP\x00\x00\x09\x01"...) })
		return errFinished
	}
	c.used = len(greeting)
	c.out.method(0, connectionStart, func(b []byte) []byte {
		b = appendTable(append(b, 0, 9), serverProperties())
		return appendLongstr(appendLongstr(b, "PLAIN"), "en_US")
	})
	for _, step := range []struct {
		method uint32
		handle func(*decoder) error
	}{{connectionStartOk, c.login}, {connectionTuneOk, c.tune}, {connectionOpen, c.open}} {
		if err := c.expect(step.method, step.handle); err != nil {
			return err
		}
	}
	return nil
}

// expect reads the one method that may come next. What the handshake refuses it refuses for good, after its reason.
func (c *conn) expect(method uint32, handle func(*decoder) error) error {
	f, err := c.next()
	if err != nil {
		return err
	}
	d := decoder{rest: f.payload}
	for f.kind == frameHeartbeat {
		if f, err = c.next(); err != nil {
			return err
		}
		d = decoder{rest: f.payload}
	}
	got := d.long()
	if f.kind == frameMethod && f.number == 0 && got == connectionClose {
		c.out.method(0, connectionCloseOk, nil)
		return errFinished
	}
	if f.kind != frameMethod || f.number != 0 || got != method {
		return connectionException(codeCommandInvalid, "unexpected frame in the handshake")
	}
	err = handle(&d)
	if d.bad {
		err = connectionException(codeSyntaxError, "malformed arguments in the handshake")
	}
	var e *exception
	if errors.As(err, &e) && e.method == 0 {
		e.method = method
	}
	return err
}

func (c *conn) login(d *decoder) error {
	properties := d.table()
	mechanism, response := string(d.shortstr()), string(d.longstr())
	d.shortstr() // locale
	c.capabilities, _ = properties["capabilities"].(table)
	// RFC 4616: who to act as, which stays empty, then who that is and the password, each behind a NUL.
	want := "\x00" + c.vhost.config.User + "\x00" + c.vhost.config.Password
	if c.vhost.noLogin.Load() || mechanism != "PLAIN" || response != want {
		if wants, _ := c.capabilities["authentication_failure_close"].(bool); !wants {
			return errFinished
		}
		return connectionException(codeAccessRefused,
			"Login was refused using authentication mechanism "+mechanism+". For details see the broker logfile.")
	}
	c.out.method(0, connectionTune, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint16(b, channelMax)
		b = binary.BigEndian.AppendUint32(b, frameMax)
		return binary.BigEndian.AppendUint16(b, heartbeatSeconds)
	})
	return nil
}

func (c *conn) tune(d *decoder) error {
	channels, size, beat := d.short(), d.long(), d.short()
	switch {
	case channels > channelMax:
		return connectionException(codeNotAllowed, fmt.Sprintf("negotiated channel_max = %d is higher than the maximum allowed value (%d)", channels, channelMax))
	case size > frameMax:
		return connectionException(codeNotAllowed, fmt.Sprintf("negotiated frame_max = %d is higher than the maximum allowed value (%d)", size, frameMax))
	case size != 0 && size < frameMin:
		return connectionException(codeNotAllowed, fmt.Sprintf("negotiated frame_max = %d is lower than the minimum allowed value (%d)", size, frameMin))
	}
	if size != 0 {
		c.maxPayload = int(size) - frameOverhead
	}
	if beat > 0 {
		interval := time.Duration(beat) * time.Second
		c.silence = 3 * interval // two may be lost
		c.heartbeat <- interval
	}
	return nil
}

func (c *conn) open(d *decoder) error {
	vhost := string(d.shortstr())
	d.shortstr()
	d.octet()
	if vhost != c.vhost.config.VHost {
		return connectionException(codeNotAllowed, "vhost "+vhost+" not found")
	}
	c.out.method(0, connectionOpenOk, func(b []byte) []byte { return appendShortstr(b, "") })
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("end handshake: %w", err)
	}
	return nil
}
