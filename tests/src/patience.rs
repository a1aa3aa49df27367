//! Waiting for what a server does by itself.

use std::time::{Duration, Instant};

use crate::{Call, Reply};

/// How long it may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Asks until the answer is as wished.
pub async fn until(what: &str, call: impl Fn() -> Call, wished: impl Fn(&Reply) -> bool) -> Reply {
    let began = Instant::now();
    loop {
        let reply = call().send().await;
        if wished(&reply) {
            return reply;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{what} does not happen: {} {:?} {}",
            reply.status,
            reply.headers,
            reply.text()
        );
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Looks until it is so.
pub async fn until_so(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} does not happen");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Lets it say something until that is as wished.
pub async fn until_said(what: &str, say: impl Fn() -> String, wished: impl Fn(&str) -> bool) -> String {
    until_said_within(PATIENCE, what, say, wished).await
}

/// Lets it say something until that is as wished, which takes longer than other things, or may not take as long.
pub async fn until_said_within(
    patience: Duration,
    what: &str,
    say: impl Fn() -> String,
    wished: impl Fn(&str) -> bool,
) -> String {
    let began = Instant::now();
    loop {
        let said = say();
        if wished(&said) {
            return said;
        }
        assert!(began.elapsed() < patience, "{what} does not happen: {said}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
