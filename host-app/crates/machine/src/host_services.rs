//! What the guest asks of the host, answered by the policy in the machine's spec.
//!
//! The host dials, since not every guest can; on this connection the guest asks. It is dialled again whenever it ends, which happens when the
//! engine starts anew; what was reserved stays until the guest says what it keeps.

use std::sync::Arc;

use agent_api::{HostAnswer, HostCall, HostReply, HostRequest, Service, frame};
use anyhow::Context;
use machine_api::VmmState;

use crate::{guest::Guest, ports::Ports, state};

/// Answers until the machine ends.
pub(crate) async fn serve(guest: Arc<Guest>) {
    let mut ports = Ports::new(Arc::clone(&guest));
    loop {
        if let Err(error) = session(&guest, &mut ports).await {
            tracing::debug!("host services: {error:#}");
        }
        let mut states = guest.state().watch();
        // Between two engines, or at the end. Any change is worth another try; a machine that is over is not.
        if states.borrow_and_update().state == VmmState::Running {
            // The guest is up and closed the connection: its engine is about to be started again, and the dial waits for it.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        }
        if state::is_final(&states.borrow().state) || states.changed().await.is_err() {
            return;
        }
    }
}

async fn session(guest: &Guest, ports: &mut Ports) -> anyhow::Result<()> {
    let mut stream = guest.dial(Service::HostServices).await?;
    while let Some(HostRequest { id, request }) = frame::receive(&mut stream)
        .await
        .context("hear the guest")?
    {
        let answer = answer(request, ports).await;
        frame::send(&mut stream, &HostReply { id, answer })
            .await
            .context("answer the guest")?;
    }
    Ok(())
}

async fn answer(request: HostCall, ports: &mut Ports) -> HostAnswer {
    match request {
        HostCall::Grant { path, .. } => HostAnswer::Forbidden {
            message: format!(
                "{path} cannot be shared: this version of Berth does not share host folders with the machine yet; use a volume"
            ),
        },
        HostCall::Reserve {
            protocol,
            address,
            first_port,
            last_port,
            target,
        } => {
            match ports
                .reserve(&protocol, address, first_port..=last_port, target)
                .await
            {
                Ok((reservation, port)) => HostAnswer::Reserved { reservation, port },
                Err(message) => HostAnswer::Failed { message },
            }
        }
        HostCall::Release { reservation } => {
            ports.release(reservation);
            HostAnswer::Done
        }
        HostCall::Keep { reservations } => {
            ports.keep(&reservations);
            HostAnswer::Done
        }
    }
}
