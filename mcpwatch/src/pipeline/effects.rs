//! Effects of servers: attributed, held against the rules, and turned into records.

use std::borrow::Cow;
use std::sync::Arc;

use crate::attribute::{Attribution, Circumstances, Object, attribute};
use crate::detect::dedupe::{Due, Key, Scope};
use crate::detect::{self, Action, Effect, Finding};
use crate::discover::launcher;
use crate::event::{Event, EventKind, Exec, NetOperation, Open, ProcessKey, Via};
use crate::record::{self, Candidate, FileDetail, Process, Record, RecordType, Relation};
use crate::session::Call;

use super::change::change_detail;
use super::instance::Instance;
use super::naming::lookup_net;
use super::net::net_detail;
use super::privilege::privilege_detail;
use super::{Pipeline, relay};

/// Most calls an effect may belong to that are named, the likeliest first.
const CANDIDATES: usize = 8;

impl Pipeline {
    /// A system call with an effect by a process of a server.
    pub(super) fn effect(&mut self, event: &Event) {
        let Some(owner) = self.owner(event.instance) else { return };
        let process = self.shown_process(event);
        let event = self.on_host(event);
        let event = &*event;
        match &event.kind {
            EventKind::Open(open) => {
                let attribution = self.attribute(event.process, owner, Object::File(open));
                self.detect(event, owner, &process, Action::Open(open), &attribution);
                self.note_channel_opened(event, open);
                let mut record =
                    self.effect_record(RecordType::FileOpen, event, owner, &attribution);
                record.process = Some(process);
                record.file = Some(file_detail(open));
                if event.truncated {
                    record.truncated.push("file.path");
                }
                self.records.push(record);
            }
            EventKind::Change(change) => {
                let attribution = self.attribute(event.process, owner, Object::Change(change));
                self.detect(event, owner, &process, Action::Change(change), &attribution);
                let mut record =
                    self.effect_record(RecordType::FileChange, event, owner, &attribution);
                record.process = Some(process);
                record.file = Some(change_detail(change));
                if event.truncated {
                    record.truncated.push("file.path");
                }
                self.records.push(record);
            }
            EventKind::Privilege(privilege) => {
                let object = Object::Privilege(privilege, &process.exe);
                let attribution = self.attribute(event.process, owner, object);
                self.detect(event, owner, &process, Action::Privilege(privilege), &attribution);
                let kind = RecordType::ProcessPrivilege;
                let mut record = self.effect_record(kind, event, owner, &attribution);
                record.process = Some(process);
                record.privilege = Some(Box::new(privilege_detail(privilege)));
                if event.truncated {
                    record.truncated.push("privilege.path");
                }
                self.records.push(record);
                self.left_root(event.process, privilege);
            }
            EventKind::Access(access) => {
                let object = access.target.map_or(Object::Nothing, Object::Process);
                let attribution = self.attribute(event.process, owner, object);
                self.detect(event, owner, &process, Action::Access(access), &attribution);
                let kind = RecordType::ProcessAccess;
                let mut record = self.effect_record(kind, event, owner, &attribution);
                record.process = Some(process);
                record.access = Some(Box::new(self.access_detail(access)));
                self.records.push(record);
            }
            EventKind::Net(net) => {
                let (names, claims) = self.names_of(owner, net);
                let attribution = self.attribute_endpoint(event.process, owner, net, &names);
                self.detect(event, owner, &process, Action::Net(net), &attribution);
                let kind = match net.operation {
                    NetOperation::Socket => RecordType::NetSocket,
                    NetOperation::Connect => RecordType::NetConnect,
                    NetOperation::Send => RecordType::NetSend,
                    NetOperation::Bind => RecordType::NetBind,
                    NetOperation::Listen => RecordType::NetListen,
                    NetOperation::Accept => RecordType::NetAccept,
                };
                let mut record = self.effect_record(kind, event, owner, &attribution);
                record.process = Some(process);
                record.net = Some(Box::new(net_detail(net, names, &claims)));
                if event.truncated {
                    record.truncated.push("net");
                }
                self.records.push(record);
            }
            _ => {}
        }
    }

    /// An exec by a process of a server. `acting` is the process as it was, `shown` as it is now.
    pub(super) fn exec_effect(
        &mut self,
        event: &Event,
        exec: &Exec,
        owner: u64,
        acting: &Arc<Process>,
        shown: &Arc<Process>,
    ) {
        let attribution = self.attribute(event.process, owner, Object::Program(exec));
        // The exec that founded the server is its client's doing; the one that enters a container, the runtime's.
        let founds = exec.candidate
            && self.instances.get(&owner).is_some_and(|one| one.founder == event.process);
        let enters = acting.container.is_none()
            && shown.container.is_some()
            && relay::is_runtime(&acting.exe, &acting.argv);
        let own_launch = founds || enters;
        if !own_launch {
            self.detect(event, owner, acting, Action::Exec(exec), &attribution);
        }
        let mut record = self.effect_record(RecordType::ProcessExec, event, owner, &attribution);
        record.process = Some(Arc::clone(shown));
        let (detail, more_ancestors) = self.exec_detail(event.process, exec);
        record.exec = Some(Box::new(detail));
        if event.truncated {
            record.truncated.push("exec.argv");
        }
        if more_ancestors {
            record.truncated.push("exec.ancestors");
        }
        self.records.push(record);
    }

    pub(super) fn attribute(
        &self,
        process: ProcessKey,
        owner: u64,
        object: Object<'_>,
    ) -> Attribution {
        let Some(instance) = self.instances.get(&owner) else {
            return Attribution::without_call(Relation::Startup);
        };
        let in_flight = instance.serving().map_or(&[][..], |serving| &serving.in_flight);
        let lineage = self
            .processes
            .get(process)
            .map_or_else(|| Arc::from([]), |entry| Arc::clone(&entry.lineage));
        let asked = instance.conversation.first_request().is_some();
        let mut attribution =
            attribute(object, Circumstances { in_flight, lineage: &lineage, asked });
        if instance.tampered && attribution.relation == Relation::Requested {
            attribution.relation = Relation::Covert;
            attribution.matched = None;
        }
        attribution
    }

    pub(super) fn effect_record(
        &mut self,
        kind: RecordType,
        event: &Event,
        owner: u64,
        attribution: &Attribution,
    ) -> Record {
        let mut record = self.record(kind, event.time);
        if let Some(serving) = self.instances.get_mut(&owner).and_then(Instance::serving_mut) {
            record.call = serving.reference.to(attribution, &serving.shown.id);
            if attribution.candidates.len() > CANDIDATES {
                record.truncated.push("call.candidates");
            }
            record.server = Some(Arc::clone(&serving.shown));
        }
        record.relation = Some(attribution.relation);
        record
    }

    /// Runs the rules over an effect and publishes what they find.
    pub(super) fn detect(
        &mut self,
        event: &Event,
        owner: u64,
        process: &Arc<Process>,
        action: Action<'_>,
        attribution: &Attribution,
    ) {
        if matches!(action, Action::Open(_) | Action::Change(_)) {
            self.look_for_folders(event, owner);
        }
        let Some(instance) = self.instances.get(&owner) else { return };
        let Some(serving) = instance.serving() else { return };
        let (names, claims) = match action {
            Action::Net(net) => self.names_of(owner, net),
            _ => (Vec::new(), Vec::new()),
        };
        let launching = match attribution.relation {
            // What a launcher does belongs to the launch; what the launched program itself does, does not.
            Relation::Startup => {
                !self.acts_beyond_launch(event.process, event.process)
                    && launcher::recognise(&process.exe, &process.argv)
                        .is_some_and(|launch| launch.is_wrapper)
                    && !self.is_installed(owner, process)
            }
            // Clearing away a container is the end of launching it.
            Relation::Background => {
                instance.voice.is_some()
                    && process.container.is_none()
                    && relay::is_runtime(&process.exe, &process.argv)
            }
            Relation::Requested | Relation::Covert => false,
        };
        let installing = attribution.relation == Relation::Startup
            && instance.programs.iter().rfind(|program| !program.beyond_launch).is_some_and(
                |program| {
                    let (exe, argv) = (&program.exe, &program.argv);
                    launcher::is_wrapper(argv) && !instance.installed(exe, argv, <[String]>::to_vec)
                },
            );
        let since_response = attribution.call().and_then(|call| serving.since(call, event.time));
        let reached = self.reached(event, owner, action);
        let (shown, given) = (Arc::clone(&serving.shown), Arc::clone(&serving.given));
        let family = Arc::clone(&serving.family);
        let within = self.within(instance, serving, process);
        let roots = instance.conversation.roots();
        let effect = Effect {
            time: event.time,
            action,
            process,
            began: event.start_time,
            server: &shown,
            family: &family,
            within: within.as_ref().map(|container| container.id.as_str()),
            launching,
            names: &names,
            claims: &claims,
            installing,
            since_response,
            roots,
            real_roots: instance.folders.real(),
            reached: reached.as_ref(),
            attribution,
            given: &given,
        };
        let mut findings = std::mem::take(&mut self.findings);
        self.detector.check(&effect, &mut findings);
        // Rules that look at one file of a change see both; what they both say counts once.
        let exchanged = match action {
            Action::Change(change) => change.exchanged(),
            _ => None,
        };
        if let Some(other_way) = &exchanged {
            let mut more = Vec::new();
            self.detector.check(&Effect { action: Action::Change(other_way), ..effect }, &mut more);
            more.retain(|one| findings.iter().all(|other| other.rule != one.rule));
            findings.append(&mut more);
        }
        for finding in findings.drain(..) {
            let scope = match attribution.call() {
                Some(call) if attribution.outlived => Scope::AfterCall(call_uid(&shown.id, call)),
                Some(call) => Scope::Call(call_uid(&shown.id, call)),
                None => Scope::Ongoing,
            };
            let in_call = matches!(scope, Scope::Call(_));
            let key = Key {
                server: shown.id.clone(),
                object: (!in_call).then(|| finding.object.clone()),
                scope,
                relation: attribution.relation,
                rule: finding.rule,
                severity: finding.severity,
            };
            let mut due = Vec::new();
            // Taken out for the call: making the record takes the rest of the pipeline.
            let mut dedupe = std::mem::take(&mut self.dedupe);
            let now = self.now;
            let alert = || self.alert_record(event, owner, process, action, attribution, &finding);
            dedupe.admit(key, &finding.object, now, alert, &mut due);
            self.dedupe = dedupe;
            for due in due {
                self.publish_alert(due);
            }
        }
        self.findings = findings;
    }

    fn alert_record(
        &mut self,
        event: &Event,
        owner: u64,
        process: &Arc<Process>,
        action: Action<'_>,
        attribution: &Attribution,
        finding: &Finding,
    ) -> Record {
        let mut alert = self.effect_record(RecordType::Alert, event, owner, attribution);
        alert.process = Some(Arc::clone(process));
        let cut = match action {
            Action::Exec(exec) => {
                let (detail, more_ancestors) = self.exec_detail(event.process, exec);
                alert.exec = Some(Box::new(detail));
                if more_ancestors {
                    alert.truncated.push("exec.ancestors");
                }
                "exec.argv"
            }
            Action::Open(open) => {
                alert.file = Some(file_detail(open));
                "file.path"
            }
            Action::Change(change) => {
                alert.file = Some(change_detail(change));
                "file.path"
            }
            Action::Privilege(privilege) => {
                alert.privilege = Some(Box::new(privilege_detail(privilege)));
                "privilege.path"
            }
            Action::Access(access) => {
                alert.access = Some(Box::new(self.access_detail(access)));
                "access"
            }
            Action::Injection(_) => "mcp",
            Action::Net(net) => {
                let (names, claims) = self.names_of(owner, net);
                alert.net = Some(Box::new(net_detail(net, names, &claims)));
                "net"
            }
            Action::Lookup(lookup) => {
                alert.net = Some(Box::new(lookup_net(lookup.resolver, false)));
                alert.dns = Some(Box::new(self.dns_detail(owner, lookup)));
                "dns"
            }
        };
        if event.truncated {
            alert.truncated.push(cut);
        }
        let said = self.masked_alert(detect::alert(finding, 1), &mut alert.redacted);
        alert.alert = Some(Box::new(said));
        alert
    }

    pub(super) fn publish_alert(&mut self, due: Due<Record>) {
        let mut record = due.alert;
        if let Some(alert) = &mut record.alert {
            alert.count = due.count;
            alert.objects = due.objects;
            for object in &mut alert.objects {
                self.mask(object, "alert.objects", &mut record.redacted);
            }
            if due.cut {
                record.truncated.push("alert.objects");
            }
        }
        self.records.push(record);
    }

    fn masked_alert(&self, mut alert: record::Alert, redacted: &mut Vec<String>) -> record::Alert {
        self.mask(&mut alert.reason, "alert.reason", redacted);
        for evidence in &mut alert.evidence {
            self.mask(&mut evidence.value, "alert.evidence", redacted);
        }
        alert
    }

    /// Masks the secrets in a text of a record, and says so by the text's `place`.
    pub(super) fn mask(&self, text: &mut String, place: &str, redacted: &mut Vec<String>) {
        if let (Cow::Owned(masked), true) = self.redactor.text(text) {
            *text = masked;
            if !redacted.iter().any(|known| known == place) {
                redacted.push(place.to_owned());
            }
        }
    }
}

/// The name a call has in records.
pub(super) fn call_uid(server: &str, call: &Call) -> String {
    format!("{server}/{}", call.number)
}

/// What every record says of a call.
pub(super) fn call_of(server: &str, call: &Call) -> record::Call {
    record::Call {
        uid: call_uid(server, call),
        id: call.id.clone(),
        method: call.method.clone(),
        tool: call.tool.clone(),
        prompt: call.prompt.clone(),
        session: call.session.clone(),
        confidence: None,
        candidates: Vec::new(),
        outcome: None,
    }
}

/// What the last effects of a server said of their calls: most of those in a row say the same.
#[derive(Debug, Default)]
pub(super) struct Reference(Option<Said>);

#[derive(Debug)]
struct Said {
    candidates: Vec<(Arc<Call>, f64)>,
    text: Arc<record::Call>,
}

impl Reference {
    /// The call of an effect, with the others it may belong to.
    fn to(&mut self, attribution: &Attribution, server: &str) -> Option<Arc<record::Call>> {
        let candidates = &attribution.candidates;
        let same = |(one, sure): &(Arc<Call>, f64), (other, as_sure): &(Arc<Call>, f64)| {
            Arc::ptr_eq(one, other) && sure.to_bits() == as_sure.to_bits()
        };
        if let Some(said) = &self.0
            && said.candidates.len() == candidates.len()
            && said.candidates.iter().zip(candidates).all(|(one, other)| same(one, other))
        {
            return Some(Arc::clone(&said.text));
        }
        let text = Arc::new(referred(server, candidates)?);
        self.0 = Some(Said { candidates: candidates.clone(), text: Arc::clone(&text) });
        Some(text)
    }

    /// A call is over, and need not be kept for this.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

fn referred(server: &str, candidates: &[(Arc<Call>, f64)]) -> Option<record::Call> {
    let (call, confidence) = candidates.first()?;
    let several =
        candidates.get(..CANDIDATES.min(candidates.len())).filter(|_| candidates.len() > 1);
    let candidates = several.into_iter().flatten().map(|(call, confidence)| Candidate {
        uid: call_uid(server, call),
        id: call.id.clone(),
        tool: call.tool.clone(),
        confidence: *confidence,
    });
    Some(record::Call {
        confidence: Some(*confidence),
        candidates: candidates.collect(),
        ..call_of(server, call)
    })
}

/// `O_*` flags beyond the access mode that are shown, with their names.
const OPEN_FLAGS: &[(i32, &str)] = &[
    (libc::O_CREAT, "O_CREAT"),
    (libc::O_EXCL, "O_EXCL"),
    (libc::O_TRUNC, "O_TRUNC"),
    (libc::O_APPEND, "O_APPEND"),
    (libc::O_DIRECTORY, "O_DIRECTORY"),
    (libc::O_NOFOLLOW, "O_NOFOLLOW"),
];

fn file_detail(open: &Open) -> FileDetail {
    let flags = open.flags.cast_signed();
    let access = if flags & libc::O_PATH != 0 {
        "path"
    } else {
        match flags & libc::O_ACCMODE {
            libc::O_WRONLY => "write",
            libc::O_RDWR => "read_write",
            _ => "read",
        }
    };
    FileDetail {
        path: open.path.clone(),
        argument: open.argument.clone(),
        inner_path: open.inner_path.clone(),
        host_path: open.host_path.clone(),
        access: Some(access),
        flags: OPEN_FLAGS
            .iter()
            .filter(|(flag, _)| flags & flag == *flag)
            .map(|(_, name)| *name)
            .collect(),
        result: result_name(open.result.map(|_| ()), open.result_unknown),
        inode: (open.result.is_ok() && !open.result_unknown).then_some(open.inode),
        unlinked: open.unlinked,
        via: open.via.map(Via::name),
        operation: None,
        target: None,
        exchanged: false,
        mode: None,
        owner_uid: None,
        owner_gid: None,
        size: None,
    }
}

/// The word for what came of something that is done to a file.
pub(super) fn result_name(result: Result<(), i32>, unknown: bool) -> Cow<'static, str> {
    match result {
        Ok(()) if unknown => "unknown".into(),
        Ok(()) => "ok".into(),
        Err(error) => errno_name(error),
    }
}

/// Names of the errors system calls end with; any other keeps its number.
pub(super) fn errno_name(error: i32) -> Cow<'static, str> {
    let name = match error {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ENXIO => "ENXIO",
        libc::E2BIG => "E2BIG",
        libc::EUSERS => "EUSERS",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::EXDEV => "EXDEV",
        libc::ENOTDIR => "ENOTDIR",
        libc::ENOTEMPTY => "ENOTEMPTY",
        libc::ENOSYS => "ENOSYS",
        libc::ESRCH => "ESRCH",
        libc::EMLINK => "EMLINK",
        libc::EISDIR => "EISDIR",
        libc::EINVAL => "EINVAL",
        libc::ENFILE => "ENFILE",
        libc::EMFILE => "EMFILE",
        libc::ETXTBSY => "ETXTBSY",
        libc::ESTALE => "ESTALE",
        libc::ENOSPC => "ENOSPC",
        libc::EROFS => "EROFS",
        libc::ELOOP => "ELOOP",
        libc::ENAMETOOLONG => "ENAMETOOLONG",
        libc::ENODEV => "ENODEV",
        libc::ENOTSOCK => "ENOTSOCK",
        libc::EPROTOTYPE => "EPROTOTYPE",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::EISCONN => "EISCONN",
        libc::ENOTCONN => "ENOTCONN",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::EALREADY => "EALREADY",
        libc::EINPROGRESS => "EINPROGRESS",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        // 512 and above: ERESTARTSYS and its kin, interrupted by a signal and begun again.
        libc::EINTR | 512..=516 => "EINTR",
        other => return format!("E{other}").into(),
    };
    name.into()
}
