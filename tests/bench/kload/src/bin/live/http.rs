//! As little of HTTP as is needed: a request on a connection of its own, so that the answer is what comes until its end.
use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::Error;

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Asks `http://AUTHORITY/PATH`. HTTP/1.0: no server sends its answer in chunks then.
pub fn ask(method: &str, url: &str, headers: &str, body: &[u8]) -> Result<Answer, Error> {
    let rest = url.strip_prefix("http://").ok_or("only http://")?;
    let at = rest.find('/').ok_or("no path")?;
    let (authority, path) = rest.split_at(at);
    let mut stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {authority}\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or("no answer")?;
    let status = std::str::from_utf8(answer.get(9..12).ok_or("no status")?)?.parse()?;
    Ok(Answer { status, body: answer.split_off(end + 4) })
}

/// The text of a page that is there.
pub fn text(url: &str) -> Result<String, Error> {
    let a = ask("GET", url, "", b"")?;
    let body = String::from_utf8(a.body)?;
    if a.status != 200 {
        return Err(format!("{url}: {} {body}", a.status).into());
    }
    Ok(body)
}
