//! What packets say of names.

use mcpwatch::host::answers::Answers;
use mcpwatch::host::{dns, tls};

/// A message of name service, or what a TLS client says first.
pub fn packets(data: &[u8]) {
    for message in dns::questions_of_stream(data)
        .into_iter()
        .chain([dns::parse(data), dns::answer_of_stream(data)])
        .flatten()
    {
        assert!(message.answers.len() <= dns::ANSWERS);
        // 255 bytes (RFC 1035, section 2.3.4), each shown as four characters at most.
        let names = message.answers.iter().map(|answer| &answer.name);
        assert!(names.chain([&message.question.name]).all(|name| name.len() <= 4 * 255));
        let mut answers = Answers::default();
        answers.learn(&message, [192, 0, 2, 53].into(), true);
        for answer in &message.answers {
            if let dns::Value::Address(address) = answer.value {
                let names = answers.names(address);
                assert!(names.iter().all(|name| answers.resolves(name)));
            }
        }
    }
    if let Some(hello) = tls::parse(data) {
        assert!(hello.server_name.is_none_or(|name| name.len() <= 4 * 255));
    }
}
