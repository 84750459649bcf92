//! The fuzz corpus as ordinary input: nothing in it may reach what is not shared, and no request goes without its refusal.

use std::{fs, path::Path};

use share_fs::{FuseServer, Owner, Shares, Wish, become_worker, hostile, policy::Policy};

#[test]
fn requests_of_the_corpus_are_survived() {
    let corpus =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fuzz/corpus/fuse_requests");
    let mut count = 0;
    for entry in fs::read_dir(corpus).expect("the corpus is there") {
        let requests = fs::read(entry.expect("an entry").path()).expect("readable");
        let folder = tempfile::tempdir().expect("a folder");
        hostile::feed(folder.path(), &requests).expect("folders");
        count += 1;
    }
    assert!(count >= 6, "only {count} files in the corpus");
}

/// A request with its header. Linux: include/uapi/linux/fuse.h, struct fuse_in_header.
fn request(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(40 + body.len()).expect("small");
    let mut request = length.to_le_bytes().to_vec();
    request.extend(opcode.to_le_bytes());
    request.extend(9_u64.to_le_bytes());
    request.extend(node.to_le_bytes());
    request.extend([0; 16]);
    request.extend(body);
    request
}

fn error(answer: &[u8]) -> i32 {
    -i32::from_le_bytes(answer[4..8].try_into().expect("a header"))
}

#[test]
fn what_left_the_share_without_a_guard_is_refused_through_the_queue() {
    become_worker().expect("a umask of our own");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("it is there");
    fs::create_dir(root.join("share")).expect("made");
    let shares = Shares::new(Owner::of_process(), 100);
    let wish = Wish {
        path: root.join("share"),
        read_only: false,
        create: false,
    };
    let policy = Policy::new(vec![root.clone()], vec![]);
    shares.grant(&policy, &wish).expect("shared");
    let server = FuseServer::new(shares);
    let mut driver = hostile::Driver::new().expect("memory");
    let mut ask = |opcode, node, body: &[u8]| {
        driver
            .ask(&server, &request(opcode, node, body), 4096)
            .expect("it fits")
    };
    let mut init = vec![7, 0, 0, 0, 39, 0, 0, 0, 0, 0, 0, 0];
    init.extend([0xff; 8]);
    init.extend([0; 44]);
    assert_eq!(error(&ask(26, 0, &init)), 0, "INIT");
    let share = 1 << 44 | 1;
    let mode = [0xed, 1, 0, 0, 0, 0, 0, 0];
    let mkdir = [&mode[..], b"../made\0"].concat();
    assert_eq!(error(&ask(9, share, &mkdir)), libc::EINVAL, "MKDIR");
    let absolute = format!("{}/link\0target\0", root.display());
    assert_eq!(
        error(&ask(6, share, absolute.as_bytes())),
        libc::EINVAL,
        "SYMLINK"
    );
    assert_eq!(error(&ask(1, share, b"..\0")), libc::EINVAL, "LOOKUP");
    let left: Vec<_> = fs::read_dir(&root).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // The same request with a name is one.
    assert_eq!(error(&ask(9, share, &[&mode[..], b"made\0"].concat())), 0);
    assert!(root.join("share/made").is_dir());
}
