use super::*;
use proptest::prelude::*;

const PLAIN: &str = "127.0.0.1:8000, ollama:11434,lan.example:80";

fn operator(text: &str) -> Result<String, Why> {
    BaseUrl::operator(text, PLAIN).map(|url| url.to_string())
}

fn tenant(text: &str) -> Result<String, Why> {
    BaseUrl::tenant(text).map(|url| url.to_string())
}

#[test]
fn addresses_have_one_form() {
    for (written, kept, host, port) in [
        ("https://api.openai.com/v1", "https://api.openai.com/v1", "api.openai.com", 443),
        ("https://API.OpenAI.com:443/v1", "https://api.openai.com/v1", "api.openai.com", 443),
        ("https://api.perplexity.ai", "https://api.perplexity.ai", "api.perplexity.ai", 443),
        ("https://gw.example.com:8443/a/B~1_2.3-4", "https://gw.example.com:8443/a/B~1_2.3-4", "gw.example.com", 8443),
        ("https://10.0.0.7:9443/v1", "https://10.0.0.7:9443/v1", "10.0.0.7", 9443),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1", "127.0.0.1", 8000),
        ("http://Ollama:11434/v1", "http://ollama:11434/v1", "ollama", 11434),
        ("http://lan.example", "http://lan.example", "lan.example", 80),
    ] {
        let url = BaseUrl::operator(written, PLAIN).unwrap();
        assert_eq!((url.as_str(), url.host(), url.port()), (kept, host, port));
    }
    let url = BaseUrl::tenant("https://api.openai.com/v1").unwrap();
    assert_eq!(url.join("/chat/completions"), "https://api.openai.com/v1/chat/completions");
    assert_eq!(url.join("@evil.com"), "https://api.openai.com/v1/@evil.com");
    assert_eq!(url.join(""), "https://api.openai.com/v1");
}

#[test]
fn what_readers_could_differ_about_is_refused_to_all() {
    for (text, why) in [
        ("", Why::Scheme),
        ("api.openai.com", Why::Scheme),
        ("//api.openai.com", Why::Scheme),
        ("HTTPS://api.openai.com", Why::Scheme),
        (" https://api.openai.com", Why::Scheme),
        ("ftp://api.openai.com", Why::Scheme),
        ("https:/api.openai.com", Why::Scheme),
        ("https:\\\\api.openai.com", Why::Scheme),
        ("https://", Why::Host),
        ("https:///v1", Why::Host),
        ("https://a.com ", Why::Character(' ')),
        ("https://a.com\n", Why::Character('\n')),
        ("https://a.co\tm", Why::Character('\t')),
        ("https://a.com\0", Why::Character('\0')),
        ("https://evil#.openai.azure.com/", Why::Character('#')),
        ("https://evil?.openai.azure.com/", Why::Character('?')),
        ("https://evil\\.openai.azure.com/", Why::Character('\\')),
        ("https://a.com@b.com", Why::Character('@')),
        ("https://user:word@b.com", Why::Character('@')),
        ("https://a.com/%2e%2e/x", Why::Character('%')),
        ("https://a%2ecom", Why::Character('%')),
        ("https://①②⑦.0.0.1", Why::Character('①')),
        ("https://a。com", Why::Character('。')),
        ("https://münchen.de", Why::Character('ü')),
        ("https://[::1]/v1", Why::Character('[')),
        ("https://[::ffff:7f00:1]", Why::Character('[')),
        ("https://a_b.com", Why::Host),
        ("https://a~b.com", Why::Host),
        ("https://xn--mnchen-3ya.de", Why::Host),
        ("https://a..com", Why::Host),
        ("https://.a.com", Why::Host),
        ("https://a.com.", Why::Host),
        ("https://localhost.", Why::Host),
        ("https://-a.com", Why::Host),
        ("https://a-.com", Why::Host),
        ("https://a.com:", Why::Port),
        ("https://a.com:0", Why::Port),
        ("https://a.com:080", Why::Port),
        ("https://a.com:65536", Why::Port),
        ("https://a.com:1:2", Why::Port),
        ("https://a.com:x", Why::Port),
        ("https://a.com/", Why::Path),
        ("https://a.com/v1/", Why::Path),
        ("https://a.com//v1", Why::Path),
        ("https://a.com/v1/../x", Why::Path),
        ("https://a.com/./x", Why::Path),
        ("https://a.com/x:y", Why::Path),
    ] {
        assert_eq!(operator(text), Err(why.clone()), "{text}");
        assert_eq!(tenant(text), Err(why), "{text}");
    }
    let label = "a".repeat(63);
    let host = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert!(operator(&format!("https://{host}")).is_ok());
    assert_eq!(operator(&format!("https://{host}a")), Err(Why::Host));
    assert_eq!(operator(&format!("https://{label}a.com")), Err(Why::Host));
    assert_eq!(operator(&format!("https://a.com/{}", "a".repeat(MAX_URL))), Err(Why::TooLong));
}

#[test]
fn plain_http_is_for_what_the_operator_lists() {
    for text in ["http://127.0.0.1:8001", "http://127.0.0.1", "http://ollama", "http://xollama:11434", "http://lan.example:8080"] {
        assert!(matches!(operator(text), Err(Why::PlainHttp(_))), "{text}");
    }
    assert_eq!(BaseUrl::operator("http://a:1", ""), Err(Why::PlainHttp("a:1".into())));
    assert_eq!(tenant("http://127.0.0.1:8000"), Err(Why::TenantPlainHttp));
    assert_eq!(tenant("http://api.openai.com"), Err(Why::TenantPlainHttp));
}

#[test]
fn numbers_have_one_form_for_operators_and_none_for_tenants() {
    for host in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "8.8.8.8"] {
        assert!(operator(&format!("https://{host}")).is_ok());
        assert_eq!(tenant(&format!("https://{host}")), Err(Why::TenantAddress), "{host}");
    }
    for host in [
        "127.1",
        "127.0.1",
        "0",
        "1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "127.0.0.0x1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.256",
        "256.1.1.1",
        "1.2.3.4.5",
        "0x",
        "a.0x",
        "foo.1",
        "foo.09",
        "metadata.0xa9fea9fe",
        "99999999999999999999",
    ] {
        assert_eq!(operator(&format!("https://{host}")), Err(Why::OddAddress), "{host}");
        assert_eq!(tenant(&format!("https://{host}")), Err(Why::TenantAddress), "{host}");
    }
    for host in ["127.0.0.1.any.name", "a.10.0.0.1.any.name", "1.2.3.4.5.name"] {
        assert_eq!(tenant(&format!("https://{host}")), Err(Why::TenantAddress), "{host}");
    }
}

#[test]
fn tenants_get_public_names_only() {
    for (host, part) in [
        ("localhost", "localhost"),
        ("a.localhost", "localhost"),
        ("LOCALHOST", "localhost"),
        ("printer.local", "local"),
        ("metadata.google.internal", "internal"),
        ("instance-data.ec2.internal", "internal"),
        ("host.docker.internal", "internal"),
        ("kubernetes.default.svc", "svc"),
        ("kubernetes.default.svc.cluster.local", "local"),
        ("nas.lan", "lan"),
        ("nas.home.arpa", "arpa"),
        ("1.0.0.127.in-addr.arpa", ""),
        ("x.corp", "corp"),
        ("x.intranet", "intranet"),
        ("x.test", "test"),
        ("x.invalid", "invalid"),
        ("x.example", "example"),
        ("x.onion", "onion"),
        ("nip.io", "nip.io"),
        ("app-127-0-0-1.nip.io", "nip.io"),
        ("7f000001.nip.io", "nip.io"),
        ("10-0-0-1.sslip.io", "sslip.io"),
        ("localtest.me", "localtest.me"),
        ("a.b.lvh.me", "lvh.me"),
        ("metadata.tencentyun.com", "metadata.tencentyun.com"),
    ] {
        let why = if part.is_empty() { Why::TenantAddress } else { Why::TenantName(part) };
        assert_eq!(tenant(&format!("https://{host}/v1")), Err(why), "{host}");
    }
    for host in ["intra-ai", "metadata", "rancher-metadata", "com"] {
        assert_eq!(tenant(&format!("https://{host}")), Err(Why::TenantSingleLabel), "{host}");
    }
    for host in ["api.openai.com", "notnip.io", "localhost.com", "a.workers.dev", "1.2.3.com", "0x7f.com", "123.ai", "lan.co"] {
        assert_eq!(tenant(&format!("https://{host}/v1")).unwrap(), format!("https://{host}/v1"));
    }
    for port in [22, 80, 8080, 8444, 65_535] {
        assert_eq!(tenant(&format!("https://a.com:{port}")), Err(Why::TenantPort(port)));
    }
    assert!(tenant("https://a.com:8443/v1").is_ok());
}

#[test]
fn variables_fill_a_label_and_no_more() {
    let template = "https://{NAME}.openai.azure.com/x/{NAME}/{OTHER_1}";
    let fill = |value: &'static str| BaseUrl::fill(template, |name| Some(if name == "NAME" { value } else { "z" }));
    assert_eq!(fill("my-Res1").unwrap(), "https://my-Res1.openai.azure.com/x/my-Res1/z");
    for bad in ["", "evil#", "evil/", "a.b", "evil?", "a@b", "a\\b", "a b", "ä", "%23", "a:1", "{NAME}", "a_b"] {
        assert_eq!(fill(bad), Err(Why::Value("NAME".into())), "{bad}");
    }
    let long = "a".repeat(64);
    assert_eq!(BaseUrl::fill(template, |_| Some(&long)), Err(Why::Value("NAME".into())));
    assert_eq!(BaseUrl::fill(template, |name| (name == "NAME").then_some("a")), Err(Why::Unset("OTHER_1".into())));
    assert_eq!(BaseUrl::fill("https://a.com", |_| None).unwrap(), "https://a.com");
    for bad in ["https://{}.com", "https://{a}.com", "https://{A.com", "https://A}.com", "https://{{A}}.com", "{A}}", "}{A}"] {
        assert_eq!(BaseUrl::fill(bad, |_| Some("x")), Err(Why::Template), "{bad}");
    }
}

#[test]
fn every_reason_is_a_sentence() {
    for why in [Why::Scheme, Why::Host, Why::Character('\n'), Why::TenantName("local"), Why::Value("X".into()), Why::TenantPort(22)] {
        let text = why.to_string();
        assert!(text.len() > 20 && !text.ends_with('.') && !text.contains('\n'), "{text}");
    }
}

/// What an independent reader makes of an address: scheme, host, port, path.
fn independent(text: &str) -> Option<(String, String, u16, String)> {
    let url = url::Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let (host, port) = (url.host_str()?.to_owned(), url.port_or_known_default()?);
    plain.then(|| (url.scheme().to_owned(), host, port, url.path().to_owned()))
}

/// What is written here must be what everybody reads.
fn agrees(url: &BaseUrl) -> Result<(), TestCaseError> {
    let scheme = url.as_str().split(':').next().unwrap_or_default().to_owned();
    let authority = url.as_str().strip_prefix(&format!("{scheme}://")).unwrap_or_default();
    let path = authority.find('/').map_or("/", |at| &authority[at..]);
    prop_assert_eq!(independent(url.as_str()), Some((scheme, url.host().to_owned(), url.port(), path.to_owned())));
    Ok(())
}

/// Text that is nearly an address: each part drawn from what is usual and from what is nasty.
fn nearly() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        6 => "[a-zA-Z0-9-]{1,8}",
        1 => "[0-9]{1,10}",
        1 => "0[xX][0-9a-fA-F]{0,8}",
        1 => "(localhost|local|internal|nip|io|com|xn--[a-z0-9]{1,5}|)",
        1 => "[a-z_~%@:#?\\\\\\[\\]{}\u{e9}\u{3002}\u{2460} \t]{1,4}",
    ];
    let host = prop::collection::vec(label, 1..6).prop_map(|labels| labels.join("."));
    let port = prop_oneof![3 => Just(String::new()), 1 => ":[0-9]{0,6}", 1 => "[:@#?\\\\][a-z0-9.]{0,5}"];
    let segment = prop_oneof![4 => "[a-zA-Z0-9._~-]{0,6}", 1 => "[.%2eE:;\\\\#?]{1,4}"];
    let path = prop::collection::vec(segment, 0..4).prop_map(|s| s.iter().map(|s| format!("/{s}")).collect::<String>());
    let scheme = prop_oneof![8 => Just("https://"), 2 => Just("http://"), 1 => Just("https:/"), 1 => Just("HTTPS://")];
    (scheme, host, port, path).prop_map(|(scheme, host, port, path)| format!("{scheme}{host}{port}{path}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn an_independent_reader_agrees(text in nearly()) {
        let listed = text.strip_prefix("http://").unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
        if let Ok(url) = BaseUrl::operator(&text, &listed) {
            agrees(&url)?;
            prop_assert_eq!(BaseUrl::operator(url.as_str(), &listed), Ok(url));
        }
        if let Ok(url) = BaseUrl::tenant(&text) {
            agrees(&url)?;
            let numeric = matches!(url::Url::parse(url.as_str()).ok().and_then(|u| u.host().map(|h| h.to_owned())), Some(url::Host::Domain(_)));
            prop_assert!(numeric && url.as_str().starts_with("https://") && url.host().contains('.'));
        }
    }

    #[test]
    fn an_independent_reader_agrees_on_plain_addresses(
        host in "[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?(\\.[a-z0-9]{1,5}){0,3}\\.[a-z]{2,4}",
        port in 1_u16..,
        path in "(/[a-zA-Z0-9_~-][a-zA-Z0-9._~-]{0,5}){0,3}",
    ) {
        let url = BaseUrl::operator(&format!("https://{host}:{port}{path}"), "").unwrap();
        prop_assert_eq!((url.host(), url.port()), (host.as_str(), port));
        agrees(&url)?;
    }

    #[test]
    fn no_path_moves_the_host(path in ".{0,40}") {
        let url = BaseUrl::tenant("https://api.example.com/v1").unwrap();
        if let Ok(joined) = url::Url::parse(&url.join(&path)) {
            prop_assert_eq!((joined.scheme(), joined.host_str(), joined.port()), ("https", Some("api.example.com"), None));
            prop_assert!(joined.username().is_empty());
        }
    }

    #[test]
    fn no_value_moves_the_host(value in "[a-zA-Z0-9#?/\\\\@:.{}%-]{0,10}|[a-zA-Z0-9-]{1,12}") {
        let filled = BaseUrl::fill("https://{V}.openai.azure.com/openai/v1", |_| Some(&value));
        if let Ok(url) = filled.map_err(drop).and_then(|text| BaseUrl::operator(&text, "").map_err(drop)) {
            prop_assert_eq!(url.host(), format!("{}.openai.azure.com", value.to_ascii_lowercase()));
            agrees(&url)?;
        }
    }
}
