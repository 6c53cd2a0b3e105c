//! Messages of real programs, and hostile ones.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../fixtures/names/", $name, ".bin")).as_slice()
    };
}

const QUERIES: &[(&[u8], &str, &str)] = &[
    (fixture!("query-glibc-api-a"), "api.example.test", "A"),
    (fixture!("query-absent-nowhere-a"), "nowhere.example.test", "A"),
    (fixture!("query-curl-api-aaaa"), "api.example.test", "AAAA"),
    (fixture!("query-c-ares-api-a"), "api.example.test", "A"),
    (fixture!("query-c-ares-example-txt"), "example.test", "TXT"),
    (fixture!("query-c-ares-7-ptr"), "7.113.0.203.in-addr.arpa", "PTR"),
];

#[test]
fn questions_of_real_resolvers() {
    for (bytes, name, kind) in QUERIES {
        let message = parse(bytes).unwrap();
        assert!(!message.response && !message.cut && message.answers.is_empty());
        assert_eq!(
            (message.question.name.as_str(), message.question.kind.as_str()),
            (*name, *kind)
        );
    }
}

#[test]
fn answers_of_a_real_name_server() {
    let told = |bytes: &[u8]| {
        let message = parse(bytes).unwrap();
        assert!(message.response && !message.cut);
        let answers = message.answers.iter().map(|answer| match &answer.value {
            Value::Address(address) => format!("{} {} {address}", answer.name, answer.kind),
            Value::Name(name) => format!("{} {} {name}", answer.name, answer.kind),
            Value::Other => format!("{} {}", answer.name, answer.kind),
        });
        (message.rcode.clone(), answers.collect::<Vec<_>>())
    };
    let table: &[(&[u8], &str, &[&str])] = &[
        (
            fixture!("answer-glibc-api-a"),
            "NOERROR",
            &["api.example.test CNAME edge.example.test", "edge.example.test A 203.0.113.7"],
        ),
        (
            fixture!("answer-curl-api-aaaa"),
            "NOERROR",
            &["api.example.test CNAME edge.example.test", "edge.example.test AAAA 2001:db8::7"],
        ),
        (fixture!("answer-absent-nowhere-a"), "NXDOMAIN", &[]),
        (
            fixture!("answer-c-ares-7-ptr"),
            "NOERROR",
            &["7.113.0.203.in-addr.arpa PTR www.example.test"],
        ),
        (fixture!("answer-c-ares-example-txt"), "NOERROR", &["example.test TXT"]),
    ];
    for (bytes, rcode, answers) in table {
        let (found_rcode, found) = told(bytes);
        assert_eq!(found_rcode, *rcode);
        assert_eq!(found, *answers);
    }
}

#[test]
fn a_stream_holds_the_message_behind_its_length() {
    let (bytes, name, _) = QUERIES[0];
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let names = |stream: &[u8]| -> Vec<Option<String>> {
        let found = questions_of_stream(stream).into_iter();
        found.map(|message| message.map(|message| message.question.name)).collect()
    };
    let name = Some(name.to_owned());
    let framed = [&length, bytes].concat();
    assert_eq!(names(&framed), std::slice::from_ref(&name));
    assert_eq!(
        names(&[&framed[..], &framed, &framed].concat()),
        [name.clone(), name.clone(), name.clone()]
    );
    assert_eq!(names(&[&framed[..], b"the next one"].concat()), [name.clone(), None]);
    assert_eq!(names(bytes), [name], "its length came before");
    assert_eq!(names(b"\x01"), [None]);
    assert_eq!(names(b"\xff\xffab"), [None]);
    assert_eq!(names(&[0; 4096]), [None]);
    let answer = |stream: &[u8]| answer_of_stream(stream).map(|message| message.question.name);
    assert_eq!(answer(&[&framed[..], &framed].concat()), Some(QUERIES[0].1.to_owned()));
    assert_eq!(answer(&[&[0; 8][..], &framed].concat()), None, "text of the one who answers");
    assert_eq!(names(&[&[0; 8][..], &framed].concat()), [None]);
}

/// A header that announces these sections, then `rest`.
fn made(counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00];
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend(rest);
    bytes
}

#[test]
fn what_follows_the_question_cannot_hide_it() {
    let question = b"\x01x\x04evil\x00\x00\x01\x00\x01";
    for (counts, tail) in [
        ([1, 0, 0, 0], &b""[..]),
        ([1, 0, 0, 1], b"\xff\xff\xff"),
        ([1, 9, 0, 0], b""),
        ([1, 0xffff, 0xffff, 0xffff], b"junk"),
        ([1, 1, 0, 0], b"\xc0\x0c\xff\xfe\xff\xfe\x00\x00\x00\x00\xff\xff"),
    ] {
        let message = parse(&made(counts, &[question, tail].concat())).unwrap();
        assert_eq!(message.question.name, "x.evil", "{counts:?}");
        assert_eq!(message.cut, counts != [1, 0, 0, 0]);
    }
    assert_eq!(parse(&made([0, 0, 0, 0], b"")), None);
    assert_eq!(parse(&made([2, 0, 0, 0], &[*question, *question].concat())), None);
}

#[test]
fn compression_that_leads_nowhere_ends() {
    for name in [
        &b"\xc0\x0c"[..],
        b"\xc0\x0d",
        b"\x01a\xc0\x0c",
        b"\x01a\xc0\x0e",
        b"\xc0\xff",
        b"\xff\xff",
        b"\x40\x00",
        b"\x3f",
    ] {
        let message = made([1, 0, 0, 0], &[name, b"\x00\x01\x00\x01"].concat());
        assert_eq!(parse(&message), None, "{name:?}");
    }
}

#[test]
fn names_are_text_that_cannot_be_mistaken() {
    let question = b"\x03a.B\x03\xff\x1b[\x07EXAMPLE\x00\x00\x10\x00\x01";
    let message = parse(&made([1, 0, 0, 0], question)).unwrap();
    assert_eq!(message.question.name, "a\\.b.\\xff\u{1b}[.example");
    let root = parse(&made([1, 0, 0, 0], b"\x00\xff\x00\x00\x01")).unwrap();
    assert_eq!((root.question.name.as_str(), root.question.kind.as_str()), (".", "TYPE65280"));
}

#[test]
fn cut_and_spoilt_messages_never_panic_and_stay_bounded() {
    let whole = fixture!("answer-curl-api-aaaa");
    for end in 0..whole.len() {
        let _ = parse(&whole[..end]);
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut spoilt = whole.to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % spoilt.len();
            spoilt[at] = (state >> 17).to_le_bytes()[0];
        }
        if let Some(message) = parse(&spoilt) {
            assert!(message.answers.len() <= ANSWERS);
            assert!(message.question.name.len() <= 4 * 255);
        }
    }
}
