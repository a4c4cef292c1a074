//! Folders that come and go, views, maildrops, searches, and what is left behind.

use super::*;

impl Run {
    pub(super) fn delete(&mut self, name: &str) {
        let task = UserTask::DeleteFolder { name: folder(name) };
        let mut then = self.model.clone();
        if name == "INBOX" || then.folders.remove(name).is_none() {
            return self.fails(task);
        }
        self.ask(ANN, task, then);
        for view in &mut self.views {
            if view.as_ref().is_some_and(|view| !self.model.folders.contains_key(&view.name)) {
                *view = None;
            }
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let task = UserTask::RenameFolder { from: folder(from), to: folder(to) };
        let below = |name: &str| name.strip_prefix(from).is_some_and(|rest| rest.starts_with('/'));
        let affected: Vec<String> = (self.model.folders.keys())
            .filter(|name| *name == from || (below(name) && from != "INBOX"))
            .cloned()
            .collect();
        let taken = affected
            .iter()
            .any(|name| self.model.folders.contains_key(&format!("{to}{}", &name[from.len()..])));
        let taken = taken || self.model.folders.contains_key(to);
        if affected.is_empty() || taken || to.starts_with(&format!("{from}/")) && from != "INBOX" {
            return self.fails(task);
        }
        let mut then = self.model.clone();
        if let Some((parent, _)) = to.rsplit_once('/') {
            then.create(parent);
        }
        for name in &affected {
            let mut moved = then.folders.remove(name).expect("listed");
            let new_name = format!("{to}{}", &name[from.len()..]);
            if name == "INBOX" {
                let left = ModelFolder { uid_next: moved.uid_next, messages: BTreeMap::new() };
                then.folders.insert(name.clone(), left);
                let messages: Vec<Message> = moved.messages.into_values().collect();
                moved = ModelFolder { uid_next: 1, messages: BTreeMap::new() };
                for message in messages {
                    moved.messages.insert(moved.uid_next, message);
                    moved.uid_next += 1;
                }
            }
            then.folders.insert(new_name, moved);
        }
        self.ask(ANN, task, then);
        self.views = [None, None];
    }

    pub(super) fn open(&mut self, session: u8, name: &str) {
        if !self.model.folders.contains_key(name) {
            return;
        }
        let from = Self::session(session);
        if let Some(view) = self.views[usize::from(session)].take() {
            self.world.done(from, UserTask::CloseFolder { folder: view.folder });
        }
        let opened = self.world.open(from, name, OpenMode::ReadWrite);
        let messages = self.model.folders[name].messages.clone();
        let flags = messages.iter().map(|(uid, message)| (*uid, message.flags)).collect();
        let (folder, mod_seq) = (opened.folder, opened.highest_mod_seq);
        let view = View { name: name.to_string(), folder, mod_seq, flags, messages };
        self.views[usize::from(session)] = Some(view);
    }

    pub(super) fn sync(&mut self, session: u8) {
        let Some(mut view) = self.views[usize::from(session)].take() else {
            return;
        };
        let from = Self::session(session);
        let readable = self.world.rows(from, view.folder, Want::default());
        for uid in view.flags.keys() {
            assert!(readable.iter().any(|row| row.uid.0 == *uid), "{uid} is not readable");
            let body = self.world.section(from, (view.folder, *uid), Section::WHOLE);
            let number = view.messages[uid].number;
            let text = String::from_utf8(body.to_vec()).expect("text");
            assert!(text.contains(&format!("This is body {number}.")));
        }
        let diff = self.world.sync(from, view.folder, view.mod_seq);
        for uid in diff.vanished.iter() {
            view.flags.remove(&uid.0);
        }
        let model = &self.model.folders[&view.name];
        for uid in diff.arrived.iter() {
            let before = view.flags.insert(uid.0, model.messages[&uid.0].flags);
            assert!(before.is_none(), "{uid} arrived twice");
        }
        for row in diff.changed.iter() {
            view.flags.insert(row.uid.0, row.flags.system.0);
        }
        let expected: BTreeMap<u32, u8> =
            model.messages.iter().map(|(uid, message)| (*uid, message.flags)).collect();
        assert_eq!(view.flags, expected, "view of {} after {diff:?}", view.name);
        view.mod_seq = diff.mod_seq;
        view.messages = model.messages.clone();
        // The client is told at once.
        self.world.sync(from, view.folder, diff.mod_seq);
        self.views[usize::from(session)] = Some(view);
    }

    pub(super) fn pop(&mut self, uid: u32) {
        if self.cut.is_some() {
            return;
        }
        let UserDone::MaildropOpened(maildrop) = self.world.done(ANN, UserTask::OpenMaildrop)
        else {
            panic!("a maildrop");
        };
        let inbox: Vec<u32> = self.model.folders["INBOX"].messages.keys().copied().collect();
        assert_eq!(maildrop.messages.iter().map(|(uid, _)| uid.0).collect::<Vec<_>>(), inbox);
        assert_eq!(self.world.error(BOB, UserTask::OpenMaildrop), UserError::MaildropInUse);
        let mut then = self.model.clone();
        then.folders.get_mut("INBOX").expect("INBOX").messages.remove(&uid);
        let delete = UidSet::from_range(uid..=uid);
        if self.ask(ANN, UserTask::CommitMaildrop { delete }, then).is_none() {
            self.world.done(ANN, UserTask::ReleaseMaildrop);
        }
    }

    pub(super) fn search(&mut self, name: &str, what: u8) {
        if !self.model.folders.contains_key(name) {
            return;
        }
        let digit = |message: &Message| message.number.to_string().contains('1');
        let (criteria, holds): (Criteria, Judge) = match what {
            0 => (Criteria::Flag(SystemFlag::Seen), Box::new(|m| m.flags & 1 != 0)),
            1 => (
                Criteria::Not(Box::new(Criteria::Subject("NUMBER 1".into()))),
                Box::new(|m| !m.number.to_string().starts_with('1')),
            ),
            2 => (Criteria::BodyText("body 1".into()), {
                Box::new(|m| m.number.to_string().starts_with('1'))
            }),
            3 => (
                Criteria::Or(
                    Box::new(Criteria::Flag(SystemFlag::Flagged)),
                    Box::new(Criteria::BodyText("body 1".into())),
                ),
                Box::new(|m| m.flags & 4 != 0 || m.number.to_string().starts_with('1')),
            ),
            4 => (
                Criteria::And(vec![
                    Criteria::Text("number".into()),
                    Criteria::Not(Box::new(Criteria::Flag(SystemFlag::Seen))),
                    Criteria::Subject("1".into()),
                ]),
                Box::new(move |m| m.flags & 1 == 0 && digit(m)),
            ),
            5 => (Criteria::Keyword(keyword("TWO")), Box::new(|m| m.keywords.contains("two"))),
            6 => (
                Criteria::Header { name: "return-path".into(), text: "".into() },
                Box::new(|m| m.delivered),
            ),
            7 => (
                Criteria::Or(
                    Box::new(Criteria::From("s1".into())),
                    Box::new(Criteria::Not(Box::new(Criteria::BodyText("nowhere".into())))),
                ),
                Box::new(|_| true),
            ),
            8 => (
                Criteria::Or(
                    Box::new(Criteria::And(vec![
                        Criteria::Subject("1".into()),
                        Criteria::BodyText("nowhere".into()),
                    ])),
                    Box::new(Criteria::And(vec![
                        Criteria::From("example".into()),
                        Criteria::BodyText("body 1".into()),
                    ])),
                ),
                Box::new(|m| m.number.to_string().starts_with('1')),
            ),
            _ => (Criteria::All, Box::new(|_| true)),
        };
        let task =
            UserTask::Search { folder: self.id(name), criteria: std::sync::Arc::new(criteria) };
        let messages = &self.model.folders[name].messages;
        let expected: UidSet =
            messages.iter().filter(|(_, m)| holds(m)).map(|(uid, _)| Uid(*uid)).collect();
        match self.world.done(READER, task.clone()) {
            UserDone::Found { uids, .. } => assert_eq!(uids, expected, "{task:?}"),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is kept of what nobody refers to.
    pub(super) fn check_garbage(&mut self) {
        // Whoever watched is gone; housekeeping ends.
        self.world.crash(0);
        self.world.done(READER, UserTask::Quota);
        self.world.now += 100_000;
        self.world.settle();
        let mut bodies = BTreeSet::new();
        for folder in self.model.folders.values() {
            for message in folder.messages.values() {
                bodies.insert((message.number, message.delivered));
            }
        }
        let kept = self.world.table.entries.keys().filter(|key| key.is_body()).count();
        assert_eq!(kept, bodies.len(), "bodies");
    }
}
