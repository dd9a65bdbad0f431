//! Peers that must not be relayed to are refused as soon as they are asked for (RFC 8656 §10.2, §12.2: 403), for which the library
//! has no word. Only who proves to be who it says is told; all others hear from the library what is wrong with them.

use std::net::IpAddr;

use turn_server_proto::types::{
    attribute::XorPeerAddress,
    message::{CHANNEL_BIND, CREATE_PERMISSION},
    stun::{
        attribute::{Attribute as _, AttributeFromRaw as _, AttributeStaticType as _, ErrorCode},
        message::{
            LongTermKeyCredentials, Message, MessageClass, MessageIntegrityCredentials, MessageWrite as _,
            MessageWriteExt as _, MessageWriteVec,
        },
    },
};

/// Whether a port of an address may be relayed to; without a port, whether any of it may.
pub(super) type May<'a> = &'a dyn Fn(IpAddr, Option<u16>) -> bool;

/// The answer to a request for a permission, which is one for all ports of an address, or a channel to a peer that may not be
/// relayed to. None: it is no such request, or not this user's.
pub(super) fn refusal(
    m: &Message<'_>,
    user: &str,
    password: String,
    realm: &str,
    may: May<'_>,
) -> Option<Vec<u8>> {
    if !m.has_class(MessageClass::Request) {
        return None;
    }
    let channel = m.method() == CHANNEL_BIND;
    if !channel && m.method() != CREATE_PERMISSION {
        return None;
    }
    let peers = m.iter_attributes().filter(|(_, a)| a.get_type() == XorPeerAddress::TYPE);
    let peers = peers.filter_map(|(_, a)| XorPeerAddress::from_raw(a).ok());
    let mut peers = peers.map(|p| p.addr(m.transaction_id()));
    if peers.all(|p| may(p.ip(), channel.then_some(p.port()))) {
        return None;
    }
    let credentials: MessageIntegrityCredentials =
        LongTermKeyCredentials::new(user.into(), password, realm.into()).into();
    let algorithm = m.validate_integrity(&credentials).ok()?;
    let error = ErrorCode::builder(ErrorCode::FORBIDDEN).build().ok()?;
    let mut answer = Message::builder_error(m, MessageWriteVec::new());
    answer.add_attribute(&error).ok()?;
    answer.add_message_integrity(&credentials, algorithm).ok()?;
    Some(answer.finish())
}

#[cfg(test)]
mod tests {
    use turn_server_proto::types::stun::message::{BINDING, IntegrityAlgorithm, Method};

    use super::*;

    fn request(method: Method, peers: &[&str], password: &str) -> Vec<u8> {
        let mut m = Message::builder_request(method, MessageWriteVec::new());
        for p in peers {
            let peer = XorPeerAddress::new(p.parse().unwrap(), m.transaction_id());
            m.add_attribute(&peer).unwrap();
        }
        let by = LongTermKeyCredentials::new("u".into(), password.into(), "r".into()).into();
        m.add_message_integrity(&by, IntegrityAlgorithm::Sha1).unwrap();
        m.finish()
    }

    /// The error's code.
    fn asked(method: Method, peers: &[&str], password: &str) -> Option<u16> {
        // 10.0.0.1 has one port that may be.
        let may = |ip: IpAddr, port: Option<u16>| match ip.to_string().as_str() {
            "10.0.0.1" => port.is_none_or(|p| p == 7),
            ip => ip == "8.8.8.8",
        };
        let data = request(method, peers, password);
        let m = Message::from_bytes(&data).unwrap();
        let answer = refusal(&m, "u", "secret".into(), "r", &may)?;
        let a = Message::from_bytes(&answer).unwrap();
        assert!(a.has_class(MessageClass::Error) && a.method() == method);
        assert_eq!(a.transaction_id(), m.transaction_id());
        let by = LongTermKeyCredentials::new("u".into(), "secret".into(), "r".into()).into();
        assert!(a.validate_integrity(&by).is_ok());
        Some(a.attribute::<ErrorCode>().unwrap().code())
    }

    #[test]
    fn who_asks_for_a_forbidden_peer_is_told() {
        let of = |method, peers: &[&str]| asked(method, peers, "secret");
        assert_eq!(of(CREATE_PERMISSION, &["8.8.8.8:1"]), None);
        assert_eq!(of(CREATE_PERMISSION, &["192.168.0.1:1"]), Some(403));
        assert_eq!(of(CREATE_PERMISSION, &["8.8.8.8:1", "192.168.0.1:1"]), Some(403));
        assert_eq!(of(CREATE_PERMISSION, &["[::1]:1"]), Some(403));
        assert_eq!(of(CREATE_PERMISSION, &["10.0.0.1:1"]), None, "it is for all ports");
        assert_eq!(of(CREATE_PERMISSION, &[]), None);
        assert_eq!(of(CHANNEL_BIND, &["10.0.0.1:7"]), None);
        assert_eq!(of(CHANNEL_BIND, &["10.0.0.1:1"]), Some(403));
        assert_eq!(of(BINDING, &["192.168.0.1:1"]), None);
        assert_eq!(asked(CREATE_PERMISSION, &["192.168.0.1:1"], "guessed"), None);
    }
}
