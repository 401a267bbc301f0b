package emit

import "sync"

// post is a message on its way through the publisher, to which its text belongs until it is settled. Then it is used for another one.
type post struct {
	outlet  *queueOutlet
	body    []byte
	sender  Sender
	settled func(refused error) // is settle, made once
}

// settle passes on what became of the message. The object of one that was refused is read out of it: who keeps both needs twice the
// memory.
func (p *post) settle(refused error) {
	sender, told := p.sender, (*Refused)(nil)
	if refused != nil {
		told = &Refused{
			Err: refused, Object: objectIn(p.body), Size: len(p.body), Remedy: "raise RabbitMQ's max_message_size",
		}
	}
	p.outlet.posts.putBack(p)
	sender.Settled(told)
}

// posts holds posts that are settled.
type posts struct {
	mu    sync.Mutex
	spare []*post
}

const (
	// mostPosts is how many of them are kept: about what the broker confirms at once. With a thousand a run of large objects takes
	// 4 MB more.
	mostPosts = 200
	// mostBody is how much room one of them may have: an object of ordinary size fits in, and all of them take 1.6 MB.
	mostBody = 8 << 10
)

// take returns one that is settled, nil where there is none.
func (s *posts) take() *post {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.spare) - 1
	if last < 0 {
		return nil
	}
	p := s.spare[last]
	s.spare[last] = nil // it can come to have a large text, and is not taken back then
	s.spare = s.spare[:last]
	return p
}

// putBack takes back one that nobody has any more.
func (s *posts) putBack(p *post) {
	p.sender = nil
	if cap(p.body) > mostBody {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.spare) < mostPosts {
		s.spare = append(s.spare, p)
	}
}
