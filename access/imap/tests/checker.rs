//! Eight clients do random things to one mailbox, each with a model of its own; the first wrong
//! number, flag or text fails.

mod support;

use fsm::Rng;
use imap::client_model::Driver;
use mailstore::face::FolderName;
use support::real::Real;
use support::transcript::deliver;
use support::world::World;

const SESSIONS: usize = 8;
/// Steps between two comparisons of all clients: short, as what one did hides what another missed.
const ROUND: u64 = 150;

/// Eight clients, logged in.
fn connect(world: &mut World) -> Vec<Driver> {
    (0..SESSIONS)
        .map(|name| {
            let index = world.connect();
            world.take(index);
            world.ask(index, "l LOGIN ann secret");
            Driver::new(name as u64, "INBOX", "Trash")
        })
        .collect()
}

/// Gives each client what the server said.
fn listen(world: &mut World, drivers: &mut [Driver], seed: u64) {
    for (index, driver) in drivers.iter_mut().enumerate() {
        let output = std::mem::take(&mut world.clients[index].output);
        if let Err(wrong) = driver.hear(&output) {
            panic!("seed {seed}, session {index}: {}", wrong.0);
        }
        assert!(!world.clients[index].closed, "seed {seed}, session {index} was ended");
    }
}

fn settle(world: &mut World, drivers: &mut [Driver], seed: u64) {
    while world.answer_one() {}
    listen(world, drivers, seed);
}

/// Sends what `next` makes of each driver, and waits for all answers.
fn all(
    world: &mut World,
    drivers: &mut [Driver],
    seed: u64,
    next: impl Fn(&mut Driver) -> Option<Vec<u8>>,
) {
    for index in 0..drivers.len() {
        if let Some(bytes) = next(&mut drivers[index]) {
            world.send(index, &bytes);
        }
        settle(world, drivers, seed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Master {
    Small,
    Production,
}

fn check(master: Master, seed: u64, steps: u64) -> u64 {
    let mut rng = Rng::new(seed, 1);
    let mut world = World::new();
    if master == Master::Production {
        world.real = Some(Box::new(Real::new()));
    }
    let inbox = FolderName::inbox();
    for number in 0..10 {
        deliver(&mut world, &inbox, &format!("Subject: old {number}\r\n\r\nx\r\n"));
    }
    let mut drivers = connect(&mut world);
    if master == Master::Production {
        world.ask(0, "m CREATE Trash");
    }
    world.hold_tasks = true;
    for step in 1..=steps {
        let index = rng.below(SESSIONS as u64) as usize;
        match rng.below(8) {
            0..=3 if !drivers[index].is_busy() => {
                let bytes = drivers[index].next(&mut |bound| rng.below(bound));
                let cut = rng.below(bytes.len() as u64 + 1) as usize;
                world.send(index, &bytes[..cut]);
                world.send(index, &bytes[cut..]);
            }
            4 if rng.chance(1, 10) => {
                deliver(
                    &mut world,
                    &inbox,
                    &format!("Subject: new {}\r\n\r\ny\r\n", rng.below(99)),
                );
            }
            5 if rng.chance(1, 100) => {
                restart(&mut world);
            }
            _ => {
                world.answer_one();
            }
        }
        listen(&mut world, &mut drivers, seed);
        if step.is_multiple_of(ROUND) {
            settle(&mut world, &mut drivers, seed);
            converge(&mut world, &mut drivers, seed);
        }
    }
    drivers.iter().map(|driver| driver.commands).sum()
}

/// The master changes, at a moment when it has nothing under way.
fn restart(world: &mut World) {
    let waiting = world.has_tasks();
    match &mut world.real {
        Some(real) if real.is_quiet() && !waiting => real.restart(SESSIONS),
        Some(_) => {}
        None => {
            let notices = world.fake.restart();
            world.notify(notices);
        }
    }
    world.run();
}

/// When nothing happens any more, all clients believe the same, and it is the truth.
fn converge(world: &mut World, drivers: &mut [Driver], seed: u64) {
    all(world, drivers, seed, |driver| driver.is_idling().then(|| driver.noop()));
    all(world, drivers, seed, Driver::ensure_selected);
    all(world, drivers, seed, |driver| Some(driver.noop()));
    let believed: Vec<_> = drivers.iter().map(Driver::flags).collect();
    all(world, drivers, seed, |driver| Some(driver.fetch_all()));
    let truth = drivers[0].model.messages.clone();
    for (index, driver) in drivers.iter().enumerate() {
        for (uid, flags) in &believed[index] {
            let shown = driver.flags();
            assert_eq!(shown.get(uid), Some(flags), "seed {seed}, session {index}, UID {uid}");
        }
        let strip = |messages: &[imap::client_model::Known]| -> Vec<_> {
            messages.iter().map(|m| (m.uid, m.flags.clone(), m.text.clone())).collect()
        };
        assert_eq!(strip(&driver.model.messages), strip(&truth), "seed {seed}, session {index}");
    }
    if world.real.is_some() {
        return;
    }
    let inbox = &world.fake.folders[&FolderName::inbox()];
    let uids: Vec<Option<u32>> = inbox.live().map(|(uid, _)| Some(*uid)).collect();
    assert_eq!(drivers[0].model.uids(), uids, "seed {seed}");
}

#[test]
fn eight_sessions_on_one_mailbox() {
    let commands: u64 = (1..=12).map(|seed| check(Master::Small, seed, 10 * ROUND)).sum();
    assert!(commands > 3_000, "only {commands} commands");
}

#[test]
fn eight_sessions_on_the_production_master() {
    let commands: u64 = (1..=12).map(|seed| check(Master::Production, seed, 20 * ROUND)).sum();
    assert!(commands > 2_000, "only {commands} commands");
}
