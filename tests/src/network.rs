//! Two hosts with a bad network between them: network namespaces, each reachable from the test, joined by a link that loses, delays
//! and cuts as it is told.
//!
//! The link is a process between two TUN devices (`link.py`), because few machines have the kernel's `netem`. What it does is done to
//! IP packets, so the hosts' own TCP has to live with it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// How the link is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// So many of a hundred packets get lost.
    pub loss_percent: u8,
    /// Each packet takes so long, or up to twice as long, so that some overtake others.
    pub delay_ms: u16,
    /// So many of a thousand packets become a reset of their connection.
    pub resets_permille: u16,
    /// Nothing passes.
    pub cut: bool,
}

/// A host: a network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    /// The namespace's name.
    pub namespace: String,
    /// Where both the test and the other host reach it.
    pub address: Ipv4Addr,
}

/// Two hosts and the link between them. Dropping it takes them away; what runs on them must have ended.
pub struct Network {
    /// The hosts.
    pub hosts: [Host; 2],
    link: Child,
    orders: ChildStdin,
    // The last one: what has the number's names and addresses goes first.
    _number: Number,
}

/// What names and addresses of a network go by: of one at a time on the machine.
struct Number {
    value: u8,
    // Locked.
    _file: File,
}

impl Number {
    /// One that no other network has, of this process or another. What a run that was killed has left of its names is removed.
    fn free() -> Result<Self, String> {
        for value in 0..=u8::MAX {
            let path = format!("/run/cairn-test-network-{value}.lock");
            let file = File::create(&path).map_err(|error| format!("{path}: {error}"))?;
            if file.try_lock().is_ok() {
                let number = Self { value, _file: file };
                for host in 0..2 {
                    // Errors say that there is none.
                    let _ = ip(&["link", "del", &number.device('o', host)]);
                    let _ = ip(&["netns", "del", &number.namespace(host)]);
                }
                return Ok(number);
            }
        }
        Err("there are too many networks of tests".to_owned())
    }

    fn namespace(&self, host: u8) -> String {
        format!("cairn-test-network-{}-{host}", self.value)
    }

    /// At most fifteen characters.
    fn device(&self, side: char, host: u8) -> String {
        format!("cairnnet{}{side}{host}", self.value)
    }
}

impl Network {
    /// Two hosts with a perfect link. The error says why this machine does not permit it.
    pub fn new() -> Result<Network, String> {
        let number = Number::free()?;
        let net = number.value;
        // Addresses for tests of networks (RFC 2544): nobody's.
        let host =
            |host: u8| Host { namespace: number.namespace(host), address: Ipv4Addr::new(198, 18, net, host * 4 + 2) };
        let hosts = [host(0), host(1)];
        let spaces = Namespaces(hosts.each_ref().map(|host| host.namespace.clone()));
        for (place, host) in (0..).zip(&hosts) {
            let (outside, inside) = (number.device('o', place), number.device('i', place));
            let gateway = Ipv4Addr::new(198, 18, net, place * 4 + 1);
            ip(&["netns", "add", &host.namespace])?;
            ip(&["link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &host.namespace])?;
            ip(&["addr", "add", &format!("{gateway}/30"), "dev", &outside])?;
            ip(&["link", "set", &outside, "up"])?;
            let own = |arguments: &[&str]| ip(&[&["-n", host.namespace.as_str()], arguments].concat());
            own(&["addr", "add", &format!("{}/30", host.address), "dev", &inside])?;
            own(&["link", "set", &inside, "up"])?;
            own(&["link", "set", "lo", "up"])?;
        }
        let (link, orders) = start_link(&hosts)?;
        let network = Network { hosts, link, orders, _number: number };
        std::mem::forget(spaces);
        let [one, other] = &network.hosts;
        for (place, here, there) in [(0, one, other), (1, other, one)] {
            let own = |arguments: &[&str]| ip(&[&["-n", here.namespace.as_str()], arguments].concat());
            own(&["addr", "add", &format!("198.19.{net}.{}/30", place + 1), "dev", "link"])?;
            own(&["link", "set", "dev", "link", "up"])?;
            own(&["route", "add", &format!("{}/32", there.address), "dev", "link"])?;
        }
        Ok(network)
    }

    /// Makes the link so from now on.
    pub fn set(&mut self, conditions: Conditions) {
        let Conditions { loss_percent, delay_ms, resets_permille, cut } = conditions;
        let order = format!("{loss_percent} {delay_ms} {resets_permille} {}\n", u8::from(cut));
        self.orders.write_all(order.as_bytes()).expect("the link takes orders");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.link.kill();
        let _ = self.link.wait();
        drop(Namespaces(self.hosts.each_ref().map(|host| host.namespace.clone())));
    }
}

/// Namespaces that go when this does; their devices go with them.
struct Namespaces([String; 2]);

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in &self.0 {
            // It may not have come to exist.
            let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
        }
    }
}

fn start_link(hosts: &[Host; 2]) -> Result<(Child, ChildStdin), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/link.py");
    let mut command = Command::new("python3");
    command.arg(script).args(hosts.each_ref().map(|host| &host.namespace)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut link = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let orders = link.stdin.take().ok_or("no pipe to write to")?;
    let stdout = link.stdout.take().ok_or("no pipe to read from")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
    if line.trim() == "ready" {
        return Ok((link, orders));
    }
    // An error says that it has ended already.
    let _ = link.wait();
    Err(format!("there is no link: {}", line.trim()))
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip (iproute2): {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    // The machine permits it, then.
    assert!(!error.contains("File exists"), "{error}");
    Err(error)
}
