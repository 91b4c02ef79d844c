//! Just enough about URLs: where a redirect leads, whose server it is, and how a name is written into a path.

use ureq::http::Uri;

use crate::HubError;

/// Whose server it is: what a token may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute URL.
    pub(crate) fn of(url: &str) -> Result<Self, HubError> {
        let uri: Uri = url
            .parse()
            .map_err(|error| HubError::answer(url, format!("is no URL: {error}")))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HubError::answer(url, "is neither http nor https")),
        };
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let user = uri
            .authority()
            .is_some_and(|name| name.as_str().contains('@'));
        if host.is_empty() || user {
            return Err(HubError::answer(url, "names no server, or a user"));
        }
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host, port })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }
}

/// The URL that `location` means in an answer of `url`.
pub(crate) fn join(url: &str, location: &str) -> Result<String, HubError> {
    let refused = |reason: &str| Err(HubError::answer(url, format!("redirects to {reason}")));
    if location.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return refused("what is no URL");
    }
    let scheme_end = url.find("://").map_or(0, |at| at + 3);
    let origin_end = url[scheme_end..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| scheme_end + at);
    let joined = if let Some(rest) = location.strip_prefix("//") {
        format!("{}{rest}", &url[..scheme_end])
    } else if location.starts_with('/') {
        format!("{}{location}", &url[..origin_end])
    } else {
        location.to_owned()
    };
    let target = Origin::of(&joined)?;
    if Origin::of(url)?.is_https() && !target.is_https() {
        return refused("plain http, from https");
    }
    Ok(joined)
}

/// A URL for people: without what stands behind `?`, where storage servers have signatures, and without a user's password.
pub(crate) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match server.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://...@{host}{path}"),
        None => plain.to_owned(),
    }
}

/// A name as a part of a URL's path; `/` stays.
pub(crate) fn encoded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let url = "https://hub.example:8443/a/b?q=1";
        let joined = |location: &str| join(url, location).ok();
        assert_eq!(
            joined("/x?y").as_deref(),
            Some("https://hub.example:8443/x?y")
        );
        assert_eq!(
            joined("//cdn.example/x").as_deref(),
            Some("https://cdn.example/x")
        );
        assert_eq!(
            joined("https://cdn.example/x").as_deref(),
            Some("https://cdn.example/x")
        );
        for refused in [
            "http://cdn.example/x",
            "file:///etc/passwd",
            "ftp://x/y",
            "x",
            "",
            "/a b",
            "https://",
        ] {
            assert_eq!(joined(refused), None, "{refused:?}");
        }
        assert!(join("http://a/b", "https://c/d").is_ok());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let of = |url: &str| Origin::of(url).unwrap();
        assert_eq!(
            of("https://Hub.example/x"),
            of("https://hub.example:443/y?z")
        );
        for other in [
            "http://hub.example",
            "https://hub.example:444",
            "https://hub.example.evil",
            "https://evil/hub.example",
        ] {
            assert_ne!(of("https://hub.example"), of(other), "{other}");
        }
        assert!(Origin::of("https://hub.example@evil/x").is_err());
        assert!(Origin::of("https://user:word@hub.example/x").is_err());
    }

    #[test]
    fn names_are_written_out() {
        assert_eq!(
            encoded("1_Pooling/a b+c#?%.json"),
            "1_Pooling/a%20b%2Bc%23%3F%25.json"
        );
        assert_eq!(encoded("\u{e9}"), "%C3%A9");
        assert_eq!(shown("https://x/y?Signature=z"), "https://x/y");
        assert_eq!(shown("https://user:word@x/y@z"), "https://...@x/y@z");
        assert_eq!(shown("user:word@x"), "://...@x");
    }
}
