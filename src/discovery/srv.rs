//! SRV records (RFC 2782): which server and port a service of a domain has. A question and its answer as bytes, the
//! resolvers of /etc/resolv.conf, and a thin piece with a socket. No cache: who asks, asks rarely. What a resolver says
//! is a proposal like every other address here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Where the system keeps its resolvers.
pub const RESOLV_CONF_PATH: &str = "/etc/resolv.conf";

/// The type number of SRV and the class of the internet.
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
const HEADER_BYTES: usize = 12;
/// The longest name, bytes with its lengths, and the longest part of one (RFC 1035).
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
/// A compressed name that jumps more often than it can have parts runs in a circle.
const JUMPS_MAX: usize = 128;
/// What a resolver may send over UDP without being asked for more, and somewhat above.
const ANSWER_BYTES_MAX: usize = 4_096;
const DNS_PORT: u16 = 53;
/// Resolvers that the system's own functions read of resolv.conf; more are left out.
const RESOLVERS_MAX: usize = 3;
/// A resolver that has not answered after this is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower is tried first.
    pub priority: u16,
    /// Among equals, the share of those who come.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its name.
    pub target: String,
}

/// What resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// Whom to ask, in order.
    pub servers: Vec<SocketAddr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
}

impl Resolvers {
    /// Reads the text of a resolv.conf; what it does not understand it leaves out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolvers = Resolvers::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolvers.servers.extend(server.map(|ip| SocketAddr::new(ip, DNS_PORT)));
                }
                Some("search" | "domain") => {
                    resolvers.search = words.map(|word| word.trim_end_matches('.').to_owned()).collect();
                }
                _ => {}
            }
        }
        resolvers.servers.truncate(RESOLVERS_MAX);
        if resolvers.servers.is_empty() {
            resolvers.servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
        }
        resolvers
    }

    /// The server of `service` (like `_saturn._udp`) that this caller should go to, in `domain` as it is or in one of
    /// the search domains; `None` if nobody answers or there is none. Waits some seconds at most. `random` chooses
    /// among servers of one priority and makes the question hard to answer for a stranger.
    #[must_use]
    pub fn look_up(&self, service: &str, domain: &str, random: u64) -> Option<Service> {
        let as_it_is = format!("{service}.{}", domain.trim_end_matches('.'));
        let searched = self.search.iter().filter(|_| !domain.ends_with('.'));
        let names = std::iter::once(as_it_is.clone()).chain(searched.map(|suffix| format!("{as_it_is}.{suffix}")));
        names.into_iter().find_map(|name| {
            let question = question(random as u16, &name)?;
            let answer = self.servers.iter().find_map(|server| ask(*server, &question).ok())?;
            choose(services(&question, &answer)?, random >> 16)
        })
    }
}

/// A question for the SRV records of `name`; `None` if it is no name.
#[must_use]
pub fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    // A query that wishes recursion, with one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let is_plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !is_plain || label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return None;
        }
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    if bytes.len() - HEADER_BYTES > NAME_BYTES_MAX {
        return None;
    }
    bytes.extend(TYPE_SRV.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// The services that `answer` names to `question`; `None` if it is no answer to it, or one that says no.
#[must_use]
pub fn services(question: &[u8], answer: &[u8]) -> Option<Vec<Service>> {
    let asked = &question[HEADER_BYTES..];
    let flags = word(answer, 2)?;
    let (is_answer, failure) = (flags & 0x8000 != 0, flags & 0x000f);
    let repeated = answer.get(HEADER_BYTES..HEADER_BYTES + asked.len())?;
    if answer[..2] != question[..2] || !is_answer || failure != 0 || word(answer, 4)? != 1 {
        return None;
    }
    if !repeated.eq_ignore_ascii_case(asked) {
        return None;
    }
    let mut at = HEADER_BYTES + asked.len();
    let mut services = Vec::new();
    for _ in 0..word(answer, 6)? {
        let (_, after) = name(answer, at)?;
        let (kind, class, len) = (word(answer, after)?, word(answer, after + 2)?, word(answer, after + 8)?);
        let data = after + 10;
        at = data + usize::from(len);
        if kind == TYPE_SRV && class == CLASS_IN {
            let (target, _) = name(answer, data + 6)?;
            services.push(Service {
                priority: word(answer, data)?,
                weight: word(answer, data + 2)?,
                port: word(answer, data + 4)?,
                target,
            });
        }
    }
    Some(services)
}

/// The one of `services` that a caller with this random number goes to: of the lowest priority, by weight. A target of
/// `.` says that there is no such service.
#[must_use]
pub fn choose(services: Vec<Service>, random: u64) -> Option<Service> {
    let usable = |service: &Service| !service.target.is_empty() && service.port != 0;
    let lowest = services.iter().filter(|service| usable(service)).map(|service| service.priority).min()?;
    let among: Vec<Service> =
        services.into_iter().filter(|service| usable(service) && service.priority == lowest).collect();
    // One more than the weight, so that a weight of nothing is a small chance and not none.
    let total: u64 = among.iter().map(|service| u64::from(service.weight) + 1).sum();
    let mut left = random % total;
    among.into_iter().find(|service| {
        let share = u64::from(service.weight) + 1;
        let is_it = left < share;
        left = left.saturating_sub(share);
        is_it
    })
}

fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    // Connected, it hears nobody else.
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(question)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let len = socket.recv(&mut answer)?;
    answer.truncate(len);
    Ok(answer)
}

/// The name at `at`, with dots, and where what follows it begins.
fn name(bytes: &[u8], at: usize) -> Option<(String, usize)> {
    let (mut at, mut after) = (at, None);
    let mut text = String::new();
    for _ in 0..JUMPS_MAX {
        let len = usize::from(*bytes.get(at)?);
        match len {
            0 => return Some((text, after.unwrap_or(at + 1))),
            1..=LABEL_BYTES_MAX => {
                let label = bytes.get(at + 1..at + 1 + len)?;
                if !label.iter().all(u8::is_ascii_graphic) || text.len() + len >= NAME_BYTES_MAX {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(label.iter().map(|b| char::from(*b)));
                at += 1 + len;
            }
            0xc0.. => {
                after = after.or(Some(at + 2));
                at = usize::from(word(bytes, at)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().expect("two bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;

    fn asked() -> Vec<u8> {
        question(ID, "_saturn._udp.example.org").unwrap()
    }

    /// An answer with these records: name (a pointer to the question), priority, weight, port, target as bytes.
    fn answer(records: &[(u16, u16, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = asked();
        bytes[2..4].copy_from_slice(&[0x81, 0x80]);
        bytes[7] = records.len() as u8;
        for (priority, weight, port, target) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend([0, 33, 0, 1, 0, 0, 0, 60]);
            bytes.extend((6 + target.len() as u16).to_be_bytes());
            for field in [priority, weight, port] {
                bytes.extend(field.to_be_bytes());
            }
            bytes.extend(*target);
        }
        bytes
    }

    fn service(priority: u16, weight: u16, port: u16, target: &str) -> Service {
        Service { priority, weight, port, target: target.into() }
    }

    #[test]
    fn a_question_is_the_bytes_of_rfc_1035() {
        let mut expected = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        expected.extend(b"\x07_saturn\x04_udp\x07example\x03org\x00\x00\x21\x00\x01");
        assert_eq!(asked(), expected);
        for wrong in ["", "a..b", ".", "a b", "ä.org", &"x".repeat(64), &vec!["x".repeat(60); 5].join(".")] {
            assert_eq!(question(1, wrong), None, "{wrong}");
        }
        assert!(question(1, &["x".repeat(49), "y".repeat(63), "z".repeat(63), "w".repeat(63)].join(".")).is_some());
    }

    #[test]
    fn an_answer_names_its_services_also_by_pointers() {
        // The second target is "b" and then a pointer to "example.org" in the question.
        let bytes = answer(&[(10, 5, 4123, b"\x01a\x07example\x03net\x00"), (20, 0, 8123, b"\x01b\xc0\x19")]);
        let found = services(&asked(), &bytes).unwrap();
        assert_eq!(found, [service(10, 5, 4123, "a.example.net"), service(20, 0, 8123, "b.example.org")]);
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_none() {
        let good = answer(&[(1, 1, 1, b"\x01a\x00")]);
        assert!(services(&asked(), &good).is_some());
        // The id, the flag of an answer, the code of failure, the number of questions, the name that was asked for.
        for (at, bit) in [(0, 1), (2, 0x80), (3, 3), (5, 2), (14, 1)] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            assert_eq!(services(&asked(), &bad), None, "byte {at}");
        }
        for len in 0..good.len() {
            assert_eq!(services(&asked(), &good[..len]), None, "cut at {len}");
        }
        let mut circle = answer(&[(1, 1, 1, b"\xc0\x00")]);
        let at = circle.len() - 2;
        circle[at..].copy_from_slice(&(0xc000 | at as u16).to_be_bytes());
        assert_eq!(services(&asked(), &circle), None);
    }

    #[test]
    fn the_lowest_priority_is_chosen_by_weight_and_a_dot_is_nobody() {
        let three = vec![service(1, 1, 1, "a"), service(1, 3, 2, "b"), service(2, 99, 3, "c")];
        let chosen = |random| choose(three.clone(), random).unwrap().target;
        assert_eq!((0..6).map(chosen).collect::<String>(), "aabbbb");
        assert_eq!(choose(vec![service(0, 0, 0, "")], 5), None);
        assert_eq!(choose(Vec::new(), 5), None);
    }

    #[test]
    fn resolv_conf_is_read_as_the_system_reads_it() {
        let text = "# x\nnameserver 192.0.2.1\nnameserver ::1 \noptions a\nsearch a.org b.org.\nnameserver nonsense\n";
        let read = Resolvers::parse(text);
        assert_eq!(read.servers, ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(read.search, ["a.org", "b.org"]);
        assert_eq!(Resolvers::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(Resolvers::parse(&"nameserver ::1\n".repeat(9)).servers.len(), 3);
    }

    #[test]
    fn a_resolver_on_loopback_is_asked_and_understood_in_a_search_domain_too() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let resolvers = Resolvers { servers: vec![server.local_addr().unwrap()], search: vec!["example.org".into()] };
        let answering = std::thread::spawn(move || {
            let mut asked = [0; 512];
            for n in 0..2 {
                let (len, from) = server.recv_from(&mut asked).unwrap();
                let mut reply = asked[..len].to_vec();
                // The short name is unknown, the one in the search domain is not.
                reply[2..4].copy_from_slice(if n == 0 { &[0x81, 0x83] } else { &[0x81, 0x80] });
                if n == 1 {
                    reply[7] = 1;
                    reply.extend(b"\xc0\x0c\x00\x21\x00\x01\x00\x00\x00\x3c\x00\x0a\x00\x01\x00\x01\x10\x1b\x02db\x00");
                }
                server.send_to(&reply, from).unwrap();
            }
        });
        assert_eq!(resolvers.look_up("_saturn._udp", "clock", 77), Some(service(1, 1, 4123, "db")));
        answering.join().unwrap();
    }
}
