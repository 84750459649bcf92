//! The control socket: what `berth` and the UI ask.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use agent_api::Service;
use anyhow::Context;
use control_api::{ControlReply, ControlRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, mpsc},
};

use crate::{
    machine::{Machines, Wish},
    wire,
};

/// Text of a log in one frame.
const LOG_CHUNK_BYTES: usize = 64 << 10;

/// What the clients of the control socket share.
struct Control {
    machines: Arc<Machines>,
    quit: Arc<Notify>,
    clients: AtomicUsize,
}

pub(crate) async fn serve(listener: UnixListener, machines: Arc<Machines>, quit: Arc<Notify>) {
    let control = Arc::new(Control {
        machines,
        quit,
        clients: AtomicUsize::new(0),
    });
    loop {
        let client = wire::accept(&listener).await;
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            control.clients.fetch_add(1, Ordering::AcqRel);
            answer(client, &control).await;
            control.clients.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

async fn answer(mut client: UnixStream, control: &Control) {
    let result = match wire::read_frame::<ControlRequest>(&mut client).await {
        Ok(Some(request)) => perform(request, &mut client, control).await,
        Ok(None) => return,
        Err(error) => Err(error
            .context("the request is not one this berthd knows: update berth and berthd together")),
    };
    let last = match result {
        Ok(()) => ControlReply::Done,
        Err(error) => ControlReply::Failed {
            message: format!("{error:#}"),
            hint: String::new(),
        },
    };
    // A client that left does not want the answer.
    let _ = wire::write_frame(&mut client, &last).await;
}

async fn perform(
    request: ControlRequest,
    client: &mut UnixStream,
    control: &Control,
) -> anyhow::Result<()> {
    let machines = &control.machines;
    match request {
        ControlRequest::Start { machine } => {
            let machine = machines.get(&machine)?;
            let wish = Arc::new(Wish::default());
            let (starting, wished) = (Arc::clone(&machine), Arc::clone(&wish));
            let start = |tell| async move { starting.start(&wished, tell).await };
            // Ctrl-C while it boots: nobody wants it, and it would be the only one to know that it is there.
            let mut left = false;
            let give_up = async {
                left = true;
                machine.give_up(&wish).await;
            };
            let started = with_progress(client, start, give_up).await;
            if left && started.is_err() {
                control.quit_if_idle();
            }
            started
        }
        ControlRequest::Stop { machine, force } => {
            let machine = machines.get(&machine)?;
            let stop = |tell| async move { machine.stop(force, tell).await };
            with_progress(client, stop, std::future::ready(())).await
        }
        ControlRequest::Status { machine } => {
            let status = machines.get(&machine)?.status();
            wire::write_frame(client, &ControlReply::Status(status)).await
        }
        ControlRequest::List => {
            for machine in machines.list() {
                wire::write_frame(client, &ControlReply::Status(machine.status())).await?;
            }
            Ok(())
        }
        ControlRequest::Logs { machine, follow } => {
            let machine = machines.get(&machine)?;
            if machine.is_running() {
                let mut log = machine.dial(Service::Logs { follow }).await?;
                return copy_log(&mut log, client).await;
            }
            for path in machine.log_files() {
                if let Ok(mut file) = tokio::fs::File::open(&path).await {
                    let title = format!("== {}\n", path.display());
                    wire::write_frame(client, &ControlReply::Text(title)).await?;
                    copy_log(&mut file, client).await?;
                }
            }
            Ok(())
        }
        ControlRequest::Shell {
            machine,
            arguments,
            terminal,
        } => {
            let service = Service::Shell {
                arguments,
                terminal,
            };
            let mut shell = machines.get(&machine)?.dial(service).await?;
            wire::write_frame(client, &ControlReply::Done).await?;
            wire::splice(client, &mut shell)
                .await
                .context("carry the shell")?;
            client.shutdown().await.context("end the shell")
        }
        ControlRequest::Quit => {
            control.quit.notify_one();
            Ok(())
        }
    }
}

impl Control {
    /// Ends a daemon that serves nothing: no machine, and no client but the one that is asking. The next `berth` starts it anew.
    fn quit_if_idle(&self) {
        let alone = self.clients.load(Ordering::Acquire) <= 1;
        if alone && !self.machines.any_live() {
            self.quit.notify_one();
        }
    }
}

/// Runs an operation to its end, whether the client stays or not, and tells it the phases while it stays; `left`: what is done when it leaves.
async fn with_progress<F, Fut>(
    client: &mut UnixStream,
    operation: F,
    left: impl Future<Output = ()>,
) -> anyhow::Result<()>
where
    F: FnOnce(Box<dyn FnMut(&str) + Send>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (sender, mut phases) = mpsc::unbounded_channel::<String>();
    let tell = Box::new(move |phase: &str| {
        let _ = sender.send(phase.to_owned());
    });
    let task = tokio::spawn(operation(tell));
    let mut left = Some(left);
    let mut nothing = [0];
    loop {
        tokio::select! {
            phase = phases.recv() => match phase {
                Some(phase) => {
                    let _ = wire::write_frame(client, &ControlReply::Progress { phase }).await;
                }
                None => break,
            },
            _ = client.read(&mut nothing), if left.is_some() => {
                if let Some(left) = left.take() {
                    left.await;
                }
            }
        }
    }
    task.await.context("the operation ended without a result")?
}

async fn copy_log(
    source: &mut (impl tokio::io::AsyncRead + Unpin),
    client: &mut UnixStream,
) -> anyhow::Result<()> {
    let mut chunk = vec![0; LOG_CHUNK_BYTES];
    let mut nothing = [0];
    loop {
        let read = tokio::select! {
            read = source.read(&mut chunk) => read.context("read the log")?,
            // The client left: nobody wants what follows.
            _ = client.read(&mut nothing) => return Ok(()),
        };
        if read == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&chunk[..read]).into_owned();
        wire::write_frame(client, &ControlReply::Text(text)).await?;
    }
}
