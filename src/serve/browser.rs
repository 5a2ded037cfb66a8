//! How a browser gets in where the caller's user does not say who it is: a browser cannot show a bearer token, but it
//! opens a link. A link is good for once, within a minute, and is exchanged for a cookie that no script can read and no
//! other site can send.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

/// A secret, in hexadecimal digits.
const DIGITS: usize = 64;
/// How long a link is good.
const LINK: Duration = Duration::from_secs(60);
/// How long a cookie is good.
const VISIT: Duration = Duration::from_secs(12 * 3600);
/// Links, and cookies, at the same time; the oldest make room.
const MOST: usize = 16;
const NAME: &str = "gospy";

/// Links that were given out and cookies that they were exchanged for.
#[derive(Debug, Default)]
pub(super) struct Browsers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    links: Secrets,
    visits: Secrets,
}

/// Secrets with the time at which they end.
#[derive(Default)]
struct Secrets(Vec<(String, Instant)>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    fn add(&mut self, good_for: Duration) -> Option<String> {
        let secret = secret()?;
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push((secret.clone(), Instant::now() + good_for));
        Some(secret)
    }

    /// Which one it is, in a time that does not depend on where they differ.
    fn find(&mut self, shown: &[u8]) -> Option<usize> {
        let now = Instant::now();
        self.0.retain(|(_, end)| *end > now);
        let mut found = None;
        for (at, (secret, _)) in self.0.iter().enumerate() {
            if same(secret.as_bytes(), shown) {
                found = Some(at);
            }
        }
        found
    }
}

/// Whether two secrets are the same, in a time that does not depend on where they differ.
pub(super) fn same(secret: &[u8], shown: &[u8]) -> bool {
    let differ = secret.iter().zip(shown).fold(0, |differ, (a, b)| differ | (a ^ b));
    std::hint::black_box(differ) == 0 && secret.len() == shown.len()
}

/// 32 bytes of the kernel's.
fn secret() -> Option<String> {
    let mut bytes = [0_u8; DIGITS / 2];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    (got == bytes.len()).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Browsers {
    /// The code of a new link; `None` when the kernel has no random numbers.
    pub(super) fn link(&self) -> Option<String> {
        self.known().links.add(LINK)
    }

    /// Takes the code of a link, and gives the cookie for it.
    pub(super) fn enter(&self, code: &str) -> Option<HeaderValue> {
        let mut known = self.known();
        let at = known.links.find(code.as_bytes())?;
        known.links.0.remove(at);
        let secret = known.visits.add(VISIT)?;
        let seconds = VISIT.as_secs();
        let cookie = format!("{NAME}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}");
        HeaderValue::from_str(&cookie).ok()
    }

    /// Whether a request has such a cookie.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
        let mut cookies = fields.flat_map(|field| field.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        let mut known = self.known();
        cookies.any(|(name, secret)| name == NAME && known.visits.find(secret.as_bytes()).is_some())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    #[test]
    fn a_link_is_good_for_once() {
        let browsers = Browsers::default();
        let code = browsers.link().unwrap();
        assert_eq!(code.len(), DIGITS);
        assert!(browsers.enter("").is_none() && browsers.enter(code.get(1..).unwrap()).is_none());
        let cookie = browsers.enter(&code).unwrap();
        assert!(browsers.enter(&code).is_none());
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict; "), "{cookie}");
        let shown = cookie.split(';').next().unwrap();
        assert!(browsers.knows(&with(shown)) && browsers.knows(&with(&format!("a=b; {shown}; c=d"))));
        for wrong in
            ["gospy=", "gospy", shown.get(..shown.len() - 1).unwrap(), &format!("x{shown}"), &format!("gospy={code}")]
        {
            assert!(!browsers.knows(&with(wrong)), "{wrong}");
        }
        assert!(!browsers.knows(&HeaderMap::new()));
    }

    #[test]
    fn links_and_visits_end() {
        let mut secrets = Secrets::default();
        let old = secrets.add(Duration::ZERO).unwrap();
        assert_eq!(secrets.find(old.as_bytes()), None);
        let first = secrets.add(LINK).unwrap();
        for _ in 0..MOST {
            secrets.add(LINK).unwrap();
        }
        assert_eq!((secrets.find(first.as_bytes()), secrets.0.len()), (None, MOST));
        assert!(!format!("{:?}", Known { links: secrets, visits: Secrets::default() }).contains(&first));
    }
}
