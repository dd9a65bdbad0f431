//! Where may be relayed to. A relay that reaches what its clients do not is a way into a network: what is not on the
//! Internet is reached only where the configuration says so.

use std::{net::IpAddr, str::FromStr};

/// A network: `192.168.0.0/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    ip: IpAddr,
    bits: u8,
}

impl FromStr for Net {
    type Err = String;
    fn from_str(s: &str) -> Result<Net, String> {
        let bad = || format!("{s:?} is no network such as 192.168.0.0/16");
        let (ip, bits) = s.split_once('/').map_or((s, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| bad())?;
        if bits > most { Err(bad()) } else { Ok(Net { ip, bits }) }
    }
}

impl Net {
    /// Whether an address is in it.
    pub fn has(&self, ip: IpAddr) -> bool {
        let first = |ip: IpAddr| match ip {
            IpAddr::V4(a) => u128::from(a.to_bits()) << 96,
            IpAddr::V6(a) => a.to_bits(),
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
        self.ip.is_ipv4() == ip.is_ipv4() && (first(self.ip) ^ first(ip)) & mask == 0
    }
}

/// Whether an address is one of the Internet's (IANA's special-purpose registries, RFC 6890).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(a) => {
            let [b0, b1, b2, _] = a.octets();
            let shared = b0 == 100 && b1 & 0xc0 == 64;
            let benchmarks = b0 == 198 && b1 & 0xfe == 18;
            let protocols = b0 == 192 && b1 == 0 && b2 == 0;
            let no = a.is_loopback() || a.is_private() || a.is_link_local() || a.is_documentation();
            !(no || shared || benchmarks || protocols || b0 == 0 || b0 >= 224)
        }
        IpAddr::V6(a) => {
            let s = a.segments();
            // Global unicast, but for documentation, 6to4, Teredo and other tunnels, which lead to IPv4.
            s[0] & 0xe000 == 0x2000 && s[0] != 0x2002 && !(s[0] == 0x2001 && (s[1] < 0x200 || s[1] == 0xdb8))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let net: Net = "192.168.0.0/16".parse().unwrap();
        assert!(net.has([192, 168, 7, 9].into()) && !net.has([192, 169, 0, 0].into()));
        let all: Net = "0.0.0.0/0".parse().unwrap();
        assert!(all.has([9, 9, 9, 9].into()) && !all.has("::1".parse().unwrap()));
        let one: Net = "fd00::1".parse().unwrap();
        assert!(one.has("fd00::1".parse().unwrap()) && !one.has("fd00::2".parse().unwrap()));
        assert!("::/0".parse::<Net>().unwrap().has("fd00::2".parse().unwrap()));
        for bad in ["", "x", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "10.0.0.0/8/8"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_on_the_internet() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2001:4860::1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
