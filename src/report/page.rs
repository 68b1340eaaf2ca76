//! The page that the endpoint for monitoring shows to people: one file, made part of the program, and the policy under
//! which a browser may show it. The policy names the page's own script and style by their hashes and allows nothing
//! else, so that no text that comes in from outside can ever run.

use sha2::{Digest, Sha256};

const HTML: &str = include_str!("page.html");

/// The page as it is served.
pub struct Page {
    /// Its text.
    pub html: &'static str,
    /// Its `Content-Security-Policy`.
    pub policy: String,
}

impl Page {
    /// The page of this program.
    #[must_use]
    pub fn new() -> Self {
        let hash = |tag: &str| {
            let begin = HTML.find(&format!("<{tag}>")).expect("the page has it") + tag.len() + 2;
            let end = HTML[begin..].find(&format!("</{tag}>")).expect("and closes it");
            base64(&Sha256::digest(&HTML.as_bytes()[begin..begin + end]))
        };
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash("script"),
            hash("style")
        );
        Page { html: HTML, policy }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0u32, |number, n| number << 8 | u32::from(three.get(n).copied().unwrap_or(0)));
        for digit in 0..4 {
            let index = number >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_page_stands_alone() {
        let page = Page::new();
        assert!(page.policy.starts_with("default-src 'none'; script-src 'sha256-"), "{}", page.policy);
        assert_eq!(page.html.matches("<script").count() + page.html.matches("<style").count(), 2);
        for outside in ["http://", "https://", "//cdn", "@import", "url(", " style=\"", " onclick=", "innerHTML"] {
            // The name space of SVG is a name and no address.
            let text = page.html.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(outside), "{outside}");
        }
    }
}
