//! What operators ask of a worker group: tasks under sessions of the node's own, who is connected, and to end sessions.

use crate::letter::Letter;
use crate::session::SessionLine;
use crate::shard::{Shard, Work};
use crate::work::Outward;
use fsm::Token;
use mailstore::face::{Notice, SessionId, SessionInput, Task, UserTask};

impl Shard {
    pub(crate) fn on_operator(&mut self, session: SessionId, token: Token, task: Task) {
        self.note_own_reader(session, &task);
        if let Task::User { user, task } = &task
            && !matches!(task, UserTask::Events { .. })
        {
            self.operators.entry(session).or_default().insert(*user);
        }
        self.dispatch(session, token, task);
    }

    pub(crate) fn on_operator_gone(&mut self, session: SessionId) {
        self.forget_own_reader(session);
        for user in self.operators.remove(&session).unwrap_or_default() {
            self.post_home(user, Letter::SessionGone { session, user });
        }
    }

    pub(crate) fn on_list_sessions(&mut self, token: Token) {
        let now = self.now.0;
        let mut lines: Vec<SessionLine> = self
            .sessions
            .iter()
            .map(|(&session, slot)| SessionLine {
                session,
                protocol: slot.protocol,
                ip: slot.ip,
                address: slot.address.clone(),
                tls: slot.tls.clone(),
                age: now.since(slot.opened),
                idle: now.since(slot.heard),
                bytes_in: slot.bytes_in,
                bytes_out: slot.bytes_out,
                activity: slot.machine.activity(),
            })
            .collect();
        lines.sort_by_key(|line| line.session);
        self.out.push(Outward::Sessions { token, lines });
    }

    pub(crate) fn on_kick_sessions(&mut self, token: Token, sessions: &[SessionId]) {
        let mut count = 0;
        for session in sessions.iter().copied() {
            let Some(slot) = self.sessions.get(&session) else { continue };
            // Behind the opening, which may still wait.
            let rank = crate::shard::rank_of(slot.protocol);
            let notice = Notice::Kicked { reason: "an operator ended the session".into() };
            self.queue.push(
                self.now.0,
                rank,
                Work::Session(session, SessionInput::Notified(notice)),
            );
            count += 1;
        }
        self.out.push(Outward::Kicked { token, count });
    }
}
