//! How much memory a record holds while it waits: what the bound of a queue is kept by.

use crate::record::{
    AccessDetail, Alert, Ancestor, Call, ClaimedName, DnsAnswer, DnsDetail, ExecDetail, McpDetail,
    NetDetail, PrivilegeDetail, Record,
};

/// What short texts, lists of flags and the allocator take beside, of a record about a file: six allocations.
const BESIDE: usize = 192;

/// About how much memory a queued record holds, in bytes. What it shares with other records (server,
/// process, host) is not counted.
pub fn weight(record: &Record) -> usize {
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let mut weight = size_of::<Record>() + BESIDE;
    if record.call.is_some() {
        weight += size_of::<Call>();
    }
    if let Some(exec) = &record.exec {
        weight += size_of::<ExecDetail>() + exec.path.len() + exec.cwd.len();
        weight += of(&exec.host_path) + of(&exec.parent_exe);
        weight += exec.argv.iter().map(|word| word.len() + size_of::<String>()).sum::<usize>();
        let above = exec.ancestors.iter();
        weight += above
            .map(|one| size_of::<Ancestor>() + one.entity_id.len() + of(&one.exe))
            .sum::<usize>();
    }
    if let Some(file) = &record.file {
        weight += file.path.len() + file.argument.len();
        weight += of(&file.inner_path) + of(&file.host_path);
        if let Some(target) = &file.target {
            weight += target.path.len() + target.argument.len();
            weight += of(&target.inner_path) + of(&target.host_path);
        }
    }
    if let Some(privilege) = &record.privilege {
        let PrivilegeDetail { path, argument, inner_path, host_path, source, command, .. } =
            &**privilege;
        weight += size_of::<PrivilegeDetail>();
        weight +=
            [path, argument, inner_path, host_path, source, command].map(of).iter().sum::<usize>();
    }
    if let Some(target) = record.access.as_ref().and_then(|access| access.target.as_ref()) {
        weight += size_of::<AccessDetail>() + of(&target.exe) + of(&target.server);
    }
    if let Some(net) = &record.net {
        weight += size_of::<NetDetail>() + of(&net.path);
        weight += net.names.iter().map(|name| size_of::<String>() + name.len()).sum::<usize>();
        let claimed = net.claimed_names.iter();
        weight += claimed.map(|one| size_of::<ClaimedName>() + one.name.len()).sum::<usize>();
    }
    if let Some(dns) = &record.dns {
        weight += size_of::<DnsDetail>() + of(&dns.question);
        let answers = dns.answers.iter();
        weight += answers
            .map(|one| size_of::<DnsAnswer>() + one.name.len() + of(&one.value))
            .sum::<usize>();
    }
    if let Some(mcp) = &record.mcp {
        weight += size_of::<McpDetail>() + of(&mcp.detail) + of(&mcp.method);
    }
    if let Some(outcome) = record.call.as_ref().and_then(|call| call.outcome.as_ref())
        && outcome.arguments.is_some()
    {
        // A JSON tree takes more room than its text, most often less than twice.
        weight +=
            usize::try_from(outcome.request_bytes).unwrap_or(usize::MAX / 4).saturating_mul(2);
    }
    if let Some(alert) = &record.alert {
        weight += size_of::<Alert>() + alert.reason.len();
        weight += alert.evidence.iter().map(|evidence| evidence.value.len()).sum::<usize>();
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, samples};

    #[test]
    fn a_record_weighs_at_least_what_is_written_of_it_alone() {
        for mut record in samples::one_of_each() {
            record.server = None;
            record.process = None;
            let mut line = Vec::new();
            json::append(&record, &mut line).unwrap();
            assert!(
                weight(&record) >= line.len(),
                "{} < {}: {record:?}",
                weight(&record),
                line.len()
            );
        }
    }

    #[test]
    fn a_long_descent_weighs_what_it_holds() {
        let mut record = samples::one_of_each().into_iter().find(|one| one.exec.is_some()).unwrap();
        let exec = record.exec.as_mut().unwrap();
        let one =
            Ancestor { pid: 1, entity_id: "1-1".into(), exe: Some("x".repeat(4096)), ended: false };
        exec.ancestors = vec![one; 256];
        assert!(weight(&record) > 256 * 4096);
    }
}
