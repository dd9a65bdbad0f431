//! The public key in a peer's certificate. Nothing else in it is looked at: who the peer is follows from the hash of the
//! whole, which came by another way (RFC 8827 §6.5).

/// The curve of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const BITS: u8 = 0x03;
/// `version [0] EXPLICIT`
const VERSION: u8 = 0xa0;

/// 1.2.840.10045.2.1, id-ecPublicKey (RFC 5480 §2.1.1).
const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// Why no key could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is no certificate.
    Form,
    /// The key is not one for an elliptic curve.
    Kind,
    /// It is for one that is not used here.
    Curve,
}

/// Its curve and the point on it, of a DER certificate (RFC 5280 §4.1).
pub(super) fn public_key(der: &[u8]) -> Result<(Curve, &[u8]), Bad> {
    let mut whole = Reader(der);
    let mut certificate = Reader(whole.value(SEQUENCE)?);
    let mut body = Reader(certificate.value(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.value(VERSION)?;
    }
    body.value(INTEGER)?;
    // Signature algorithm, issuer, validity, subject.
    for _ in 0..4 {
        body.value(SEQUENCE)?;
    }
    let mut info = Reader(body.value(SEQUENCE)?);
    let mut algorithm = Reader(info.value(SEQUENCE)?);
    if algorithm.value(OID)? != EC_KEY {
        return Err(Bad::Kind);
    }
    let curve = match algorithm.value(OID)? {
        oid if oid == P256 => Curve::P256,
        oid if oid == P384 => Curve::P384,
        _ => return Err(Bad::Curve),
    };
    match info.value(BITS)? {
        // No unused bits in the last byte.
        [0, key @ ..] => Ok((curve, key)),
        _ => Err(Bad::Form),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value, which must have this tag.
    fn value(&mut self, tag: u8) -> Result<&'a [u8], Bad> {
        let [found, first, rest @ ..] = self.0 else { return Err(Bad::Form) };
        if *found != tag {
            return Err(Bad::Form);
        }
        let (len, rest) = match (*first, rest) {
            (n @ 0..=0x7f, rest) => (usize::from(n), rest),
            (0x81, [n, rest @ ..]) => (usize::from(*n), rest),
            (0x82, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return Err(Bad::Form),
        };
        let value = rest.get(..len).ok_or(Bad::Form)?;
        self.0 = &rest[len..];
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate() -> Vec<u8> {
        crate::crypto::certificate([7; 16]).unwrap().certificate
    }

    #[test]
    fn the_key_of_a_certificate() {
        let der = certificate();
        let (curve, key) = public_key(&der).unwrap();
        assert_eq!((curve, key.len(), key[0]), (Curve::P256, 65, 4));
    }

    #[test]
    fn other_kinds_of_keys_are_told_apart() {
        let of = |algorithm: &'static rcgen::SignatureAlgorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let der = of(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(public_key(&der).map(|(c, k)| (c, k.len())), Ok((Curve::P384, 97)));
        assert_eq!(public_key(&of(&rcgen::PKCS_ED25519)), Err(Bad::Kind));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = public_key(&data);
        }

        #[test]
        fn so_is_a_certificate_with_one_byte_changed_or_cut_off(at in 0usize..1000, to: u8, len in 0usize..1000) {
            let mut der = certificate();
            let at = at % der.len();
            der[at] = to;
            der.truncate(len.max(1));
            let _ = public_key(&der);
        }
    }
}
