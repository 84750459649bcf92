use super::*;
use process::tests::files;

fn table() -> ProcessTable {
    ProcessTable {
        processes: vec![files(7, b"sh\0-c\0sleep  5\0"), files(12, b"12\0x\0")],
        booted: 1_795_647_405,
        uptime_ticks: 4000,
        memory_kib: 16_000,
        page_bytes: 4096,
        passwd: b"root:x:0:\nwww-data-of-old:x:33:33::/:\n".to_vec(),
        group: b"www:x:34:\n".to_vec(),
    }
}

fn top(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let shown = show(&arguments::parse(text).unwrap(), &table()).unwrap();
    (shown.titles, shown.processes.unwrap_or_default())
}

#[test]
fn the_usual_formats_look_as_in_docker() {
    let (titles, rows) = top("-ef");
    assert_eq!(titles.join(" "), "UID PID PPID C STIME TTY TIME CMD");
    assert_eq!(
        rows[0],
        [
            "www-dat+",
            "7",
            "1",
            "10",
            "22:56",
            "pts/1",
            "00:00:03",
            "sh -c sleep 5"
        ]
    );
    let (_, rows) = top("aux");
    assert_eq!(
        rows[0],
        [
            "www-dat+",
            "7",
            "10.0",
            "8.6",
            "2268",
            "1376",
            "pts/1",
            "Ssl+",
            "22:56",
            "0:03",
            "sh -c sleep 5"
        ]
    );
    let (_, rows) = top("-l");
    assert_eq!(
        rows[1],
        [
            "4", "S", "33", "12", "1", "10", "80", "0", "-", "567", "hrtime", "pts/1", "00:00:03",
            "a) (b)"
        ]
    );
    let (_, rows) = top("-o pid,group,ruid,etime,etimes,pri,user:20,lstart");
    assert_eq!(
        rows[0],
        [
            "7",
            "www",
            "5",
            "00:30",
            "30",
            "19",
            "www-data-of-old",
            "Wed Nov 25 22:56:55 2026"
        ]
    );
}

#[test]
fn columns_with_spaces_fall_where_docker_lets_them_fall() {
    // The second word of the command stands where the pid should be.
    let shown = show(&arguments::parse("-o args,pid").unwrap(), &table()).unwrap_err();
    assert_eq!(
        shown.message(),
        "Unexpected pid '-c': strconv.Atoi: parsing \"-c\": invalid syntax"
    );
    let shown = show(&arguments::parse("-o comm").unwrap(), &table()).unwrap_err();
    assert_eq!(shown.message(), "Couldn't find PID field in ps output");
    let shown = show(&arguments::parse("--no-headers -ef").unwrap(), &table()).unwrap_err();
    assert_eq!(shown.message(), "Couldn't find PID field in ps output");
}

#[test]
fn processes_are_chosen_and_ordered() {
    let pids = |text| {
        top(text)
            .1
            .into_iter()
            .map(|row| row[0].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(pids("-o pid,user -p 12"), ["12"]);
    assert_eq!(pids("-o pid --sort -pid"), ["12", "7"]);
    assert_eq!(pids("-o pid -u root"), Vec::<String>::new());
}

#[test]
fn no_other_column_is_called_pid() {
    check_titles("-eo pid=PID,user").unwrap();
    check_titles("-ef").unwrap();
    let refused = check_titles("-eo user=PID,pid").unwrap_err();
    assert_eq!(
        refused.message(),
        "specifying \"user=PID,pid\" is not allowed"
    );
}
