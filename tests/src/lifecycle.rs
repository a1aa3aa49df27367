//! Lifecycle rules as tests write them, and servers whose days are short or pass when a test says so.

use time::OffsetDateTime;

use crate::{Cairn, Call, Client, Config, Reply};

/// Settings with days, and sweeps, of a second.
pub fn short_days() -> Config {
    let more = "\n[lifecycle]\nday_seconds = 1\nsweep_interval_seconds = 1\n\
                \n[restore]\nexpedited_seconds = 0\nstandard_seconds = 3\nbulk_seconds = 600\ndeep_archive_standard_seconds = 4\n";
    Config { more: more.to_owned(), ..Config::default() }
}

/// A configuration of these rules.
pub fn configuration(rules: &str) -> String {
    format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>")
}

/// An enabled rule.
pub fn rule(id: &str, filter: &str, actions: &str) -> String {
    format!("<Rule><ID>{id}</ID><Filter>{filter}</Filter><Status>Enabled</Status>{actions}</Rule>")
}

/// Gives the bucket these rules.
pub fn put_rules(client: &Client, bucket: &str, rules: &str) -> Call {
    client.bucket("PUT", bucket).query("lifecycle", "").body(configuration(rules))
}

/// Restores an archived object.
pub fn restore(client: &Client, bucket: &str, key: &str, request: &str) -> Call {
    let document = format!("<RestoreRequest>{request}</RestoreRequest>");
    client.object("POST", bucket, key).query("restore", "").body(document)
}

/// A new bucket with versioning.
pub async fn versioned(client: &Client, bucket: &str) -> String {
    let bucket = client.fresh_bucket(bucket).await;
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(on).send().await.expect(200);
    bucket
}

/// The storage class of what was answered.
pub fn class_of(reply: &Reply) -> &str {
    reply.header("x-amz-storage-class").unwrap_or("STANDARD")
}

/// A server whose wall clock tests set, so that rules can be of real days.
pub struct Calendar {
    /// The server.
    pub cairn: Cairn,
    ahead: time::Duration,
}

impl Calendar {
    /// One that lives today.
    pub fn start() -> Self {
        Self::with(Config::default())
    }

    /// The same with other settings.
    pub fn with(config: Config) -> Self {
        Self { cairn: Cairn::start(config), ahead: time::Duration::ZERO }
    }

    /// The server's time.
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + self.ahead
    }

    /// Lets days pass, and carries the rules out: what was printed.
    pub fn pass(&mut self, days: i64, buckets: &[&str]) -> Result<String, String> {
        self.pass_time(time::Duration::days(days), buckets)
    }

    /// The same for any time.
    pub fn pass_time(&mut self, time: time::Duration, buckets: &[&str]) -> Result<String, String> {
        self.ahead += time;
        self.cairn.set_wall_clock_ahead(self.ahead)?;
        self.cairn.restart();
        let mut printed = String::new();
        for bucket in buckets {
            let run = self.cairn.calling_command(&["lifecycle", "run", "--bucket", bucket]).output();
            let run = run.map_err(|error| error.to_string())?;
            assert!(run.status.success(), "{run:?}");
            printed += &String::from_utf8_lossy(&run.stdout);
        }
        Ok(printed)
    }

    /// Sends a call at the server's time.
    pub async fn send(&self, call: Call) -> Reply {
        call.at(self.now()).send().await
    }
}
