//! Connections to the guest's services.

use std::{sync::Arc, time::Duration};

use agent_api::{
    ControlReply, ControlRequest, GUEST_PORT, Hello, HelloReply, READY_PORT, Service, VERSION,
    frame,
};
use anyhow::{Context, bail};
use machine_api::VmmState;
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
};

use crate::{state::State, vsock::Vsock};

/// How long the guest may take to answer a greeting.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The guest as somebody to talk to.
pub(crate) struct Guest {
    vsock: Vsock,
    state: Arc<State>,
    secret: String,
    listening: watch::Sender<bool>,
}

impl Guest {
    pub(crate) fn new(vsock: Vsock, state: Arc<State>) -> anyhow::Result<Self> {
        let mut bytes = [0; 32];
        getrandom(&mut bytes).context("make a secret")?;
        let secret = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            vsock,
            state,
            secret,
            listening: watch::Sender::new(false),
        })
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// What every later [`Hello`] must show.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    pub(crate) fn listen_for_boot(&self) -> mpsc::Receiver<std::os::unix::net::UnixStream> {
        self.vsock.listen(READY_PORT)
    }

    /// The guest has told us that it listens.
    pub(crate) fn is_listening(&self) {
        self.listening.send_replace(true);
    }

    /// A stream to a service. Waits while the machine starts: for the engine where the service is the engine's, else for the guest.
    pub(crate) async fn dial(&self, service: Service) -> anyhow::Result<UnixStream> {
        if service == Service::Docker {
            let mut states = self.state.watch();
            let settled = states
                .wait_for(|status| !matches!(status.state, VmmState::Starting { .. }))
                .await;
            match &settled.context("the machine is not watched")?.state {
                VmmState::Failed { phase, message } => {
                    bail!("the machine failed in phase {phase}: {message}")
                }
                VmmState::Stopped => bail!("the machine has stopped"),
                _ => {}
            }
        } else {
            self.listening
                .subscribe()
                .wait_for(|listening| *listening)
                .await
                .context("the guest is not watched")?;
        }
        let greeting = async {
            let mut stream = self.vsock.connect(GUEST_PORT).await?;
            let hello = Hello {
                version: VERSION,
                secret: self.secret.clone(),
                service,
            };
            frame::send(&mut stream, &hello)
                .await
                .context("greet the guest")?;
            match frame::receive(&mut stream)
                .await
                .context("hear the guest")?
            {
                Some(HelloReply::Welcome) => Ok(stream),
                Some(HelloReply::Refused { reason }) => bail!("the guest refused: {reason}"),
                None => bail!("the guest closed the connection"),
            }
        };
        match tokio::time::timeout(ANSWER_WITHIN, greeting).await {
            Ok(result) => result,
            Err(_) => bail!(
                "the guest did not answer within {} s",
                ANSWER_WITHIN.as_secs()
            ),
        }
    }

    /// Asks the guest to stop containers within a bound and to power off.
    pub(crate) async fn power_off(&self, bound: Duration) -> anyhow::Result<()> {
        if !*self.listening.borrow() {
            bail!("it does not listen yet");
        }
        let mut stream = self.dial(Service::Control).await?;
        let request = ControlRequest::PowerOff {
            timeout_seconds: bound.as_secs(),
        };
        frame::send(&mut stream, &request)
            .await
            .context("ask for power off")?;
        match frame::receive(&mut stream)
            .await
            .context("hear the answer")?
        {
            Some(ControlReply::Failed { message }) => bail!("{message}"),
            // An end instead of an answer: it was quick.
            Some(_) | None => Ok(()),
        }
    }
}

fn getrandom(bytes: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}
