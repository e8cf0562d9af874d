//! Calls of clients on their way to a master, and answers on their way back.

use rq_core::ids::Ticket;
use rq_core::queue::request::{self, Answer, Request};

use crate::process::Held;
use crate::world::{Event, Who, World};

impl World {
    pub(crate) fn client_acts(&mut self, client: usize) {
        let (ticket, request) = match self.clients.acts(client, self.now, &mut self.random) {
            Ok(work) => work,
            Err(pause) => return self.after(pause, Event::Client(client)),
        };
        let who = self.clients.server;
        let patience = 2_000;
        self.after(patience, Event::Timeout(ticket));
        if self.machines[who].paused_until > self.now {
            return;
        }
        self.ask(who, ticket, request);
    }

    pub(crate) fn ask(&mut self, who: Who, ticket: Ticket, request: Request) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else {
            return self.refuse(ticket);
        };
        let producing = matches!(request, Request::Send(_));
        if producing && !process.replica.accepts_producers() {
            return self.refuse(ticket);
        }
        match process.request(now, Some((ticket, request))) {
            Ok(true) => {
                self.appended(who, Vec::new());
                // What depends on nothing new may leave at once.
                self.let_out(who);
            }
            Ok(false) => self.refuse(ticket),
            Err(error) => self.write_failed(who, &error),
        }
    }

    /// Surely nothing was done.
    pub(crate) fn refuse(&mut self, ticket: Ticket) {
        if let Some((client, pause)) = self.clients.refused(ticket, self.now) {
            self.after(pause, Event::Client(client));
        }
    }

    pub(crate) fn client_hears(&mut self, ticket: Ticket, answer: &request::Answer, who: Who) {
        let log = self.machines[who].process.as_ref().map(|process| process.log.reader());
        if let Some((client, pause)) = self.clients.hears(ticket, answer, log.as_ref(), self.now) {
            self.after(pause, Event::Client(client));
        }
    }

    /// Lets out what is committed; what touches the log itself, once it is flushed here too: a slave that is not counted
    /// hears of commits before its own disk has them.
    pub(crate) fn let_out(&mut self, who: Who) {
        while let Some(process) = &mut self.machines[who].process
            && let commit = process.replica.commit()
            && let flushed = commit.min(process.log.durable())
            && let Some(held) = process.gate.pass(commit).or_else(|| process.flushed_gate.pass(flushed))
        {
            let (life, opened) = (process.life, process.opened);
            match held {
                // By now too few copies may be in sync: its fate is unknown to who sent it.
                Held::Answer(_, Answer::Send(Ok(_))) if !process.replica.accepts_producers() => {}
                Held::Answer(ticket, answer) => {
                    // Never in the same ms: what came first would not be seen in the history.
                    let delay = self.jitter(1, 3);
                    self.after(delay, Event::Reply(ticket, answer, who));
                }
                Held::Drop(below) => self.drop_segments(who, below),
                Held::Chore(chore) => {
                    let delay = self.jitter(1, 30);
                    self.after(delay, Event::Chore(who, life, opened, chore));
                }
            }
        }
    }
}
