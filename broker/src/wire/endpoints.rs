//! Access points: what a client asked through is what the route names, so that it never has to learn another
//! address.

use std::net::{IpAddr, SocketAddr};

use rq_proto::rocketmq::{Address, AddressScheme, Endpoints};

use super::invalid::Invalid;
use super::names::shortened;

const PORTS: std::ops::RangeInclusive<i32> = 1..=65_535;

/// The endpoints for a route: the client's own, or the address that its connection came to where it named none.
pub fn echo(asked: Option<&Endpoints>, local: Option<SocketAddr>) -> Result<Endpoints, Invalid> {
    let asked = asked.filter(|endpoints| !endpoints.addresses.is_empty());
    let Some(asked) = asked else { return Ok(local.map(of_address).unwrap_or_default()) };
    let illegal = |address: &&Address| address.host.trim().is_empty() || !PORTS.contains(&address.port);
    if let Some(address) = asked.addresses.iter().find(illegal) {
        return Err(Invalid::AccessPoint { host: shortened(&address.host), port: address.port });
    }
    let mut echoed = asked.clone();
    if echoed.scheme() == AddressScheme::Unspecified {
        echoed.scheme = scheme(&echoed.addresses).into();
    }
    if echoed.scheme() == AddressScheme::DomainName {
        // Java refuses a domain name with several addresses.
        echoed.addresses.truncate(1);
    }
    Ok(echoed)
}

fn of_address(address: SocketAddr) -> Endpoints {
    let addresses = vec![Address { host: address.ip().to_string(), port: i32::from(address.port()) }];
    Endpoints { scheme: scheme(&addresses).into(), addresses }
}

fn scheme(addresses: &[Address]) -> AddressScheme {
    let mut hosts = addresses.iter().map(|address| address.host.parse::<IpAddr>());
    let all = |is: fn(&IpAddr) -> bool| {
        addresses.iter().all(|address| address.host.parse().is_ok_and(|ip| is(&ip)))
    };
    if hosts.any(|host| host.is_err()) {
        AddressScheme::DomainName
    } else if all(IpAddr::is_ipv4) {
        AddressScheme::IPv4
    } else if all(IpAddr::is_ipv6) {
        AddressScheme::IPv6
    } else {
        AddressScheme::DomainName
    }
}

#[cfg(test)]
mod tests {
    use rq_proto::rocketmq::Code;

    use super::*;

    fn endpoints(scheme: AddressScheme, addresses: &[(&str, i32)]) -> Endpoints {
        let addresses =
            addresses.iter().map(|(host, port)| Address { host: (*host).into(), port: *port }).collect();
        Endpoints { scheme: scheme.into(), addresses }
    }

    #[test]
    fn the_clients_own_access_point_comes_back() {
        let lists = [
            endpoints(AddressScheme::IPv4, &[("10.0.0.1", 8081), ("10.0.0.2", 8082)]),
            endpoints(AddressScheme::DomainName, &[("broker.example", 80)]),
            endpoints(AddressScheme::IPv6, &[("::1", 8081)]),
        ];
        for asked in lists {
            assert_eq!(echo(Some(&asked), None), Ok(asked));
        }
    }

    #[test]
    fn a_missing_scheme_is_derived_and_a_domain_name_keeps_one_address() {
        let scheme = |addresses: &[(&str, i32)]| {
            echo(Some(&endpoints(AddressScheme::Unspecified, addresses)), None).unwrap().scheme()
        };
        assert_eq!(scheme(&[("10.0.0.1", 1)]), AddressScheme::IPv4);
        assert_eq!(scheme(&[("::1", 1)]), AddressScheme::IPv6);
        assert_eq!(scheme(&[("localhost", 1)]), AddressScheme::DomainName);
        let two = endpoints(AddressScheme::DomainName, &[("a", 1), ("b", 2)]);
        assert_eq!(echo(Some(&two), None).unwrap().addresses.len(), 1);
    }

    #[test]
    fn without_an_access_point_the_address_of_the_connection_is_named() {
        let local: SocketAddr = "127.0.0.1:8081".parse().unwrap();
        let expected = endpoints(AddressScheme::IPv4, &[("127.0.0.1", 8081)]);
        assert_eq!(echo(None, Some(local)).unwrap(), expected);
        assert_eq!(echo(Some(&Endpoints::default()), Some(local)).unwrap(), expected);
    }

    #[test]
    fn an_illegal_access_point_is_refused() {
        for (host, port) in [("a", 0), ("a", 65_536), ("a", -1), ("", 80)] {
            let refused = echo(Some(&endpoints(AddressScheme::DomainName, &[(host, port)])), None);
            assert_eq!(refused.unwrap_err().code(), Code::IllegalAccessPoint, "{host}:{port}");
        }
    }
}
