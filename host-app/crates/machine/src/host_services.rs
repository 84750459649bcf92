//! What the guest asks of the host, answered by the policy in the machine's spec.
//!
//! The host dials, since not every guest can; on this connection the guest asks. It is dialled again whenever it ends, which happens when the
//! engine starts anew; what was reserved stays until the guest says what it keeps.

use std::sync::Arc;

use agent_api::{HostAnswer, HostCall, HostReply, HostRequest, Service, frame};
use anyhow::Context;
use machine_api::VmmState;
use share_fs::Wish;

use crate::{guest::Guest, ports::Ports, shares::Sharing, state};

/// Answers until the machine ends.
pub(crate) async fn serve(guest: Arc<Guest>, sharing: Arc<Sharing>) {
    let mut ports = Ports::new(Arc::clone(&guest));
    loop {
        if let Err(error) = session(&guest, &sharing, &mut ports).await {
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

async fn session(guest: &Guest, sharing: &Arc<Sharing>, ports: &mut Ports) -> anyhow::Result<()> {
    let mut stream = guest.dial(Service::HostServices).await?;
    while let Some(HostRequest { id, request }) = frame::receive(&mut stream)
        .await
        .context("hear the guest")?
    {
        let answer = answer(request, guest, sharing, ports).await;
        frame::send(&mut stream, &HostReply { id, answer })
            .await
            .context("answer the guest")?;
    }
    Ok(())
}

async fn answer(
    request: HostCall,
    guest: &Guest,
    sharing: &Arc<Sharing>,
    ports: &mut Ports,
) -> HostAnswer {
    match request {
        HostCall::Grant {
            path,
            read_only,
            create,
        } => {
            let wish = Wish {
                path: path.into(),
                read_only,
                create,
            };
            grant(wish, guest, sharing).await
        }
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

/// On a thread of its own, since disks are slow.
async fn grant(wish: Wish, guest: &Guest, sharing: &Arc<Sharing>) -> HostAnswer {
    let shared = Arc::clone(sharing);
    match tokio::task::spawn_blocking(move || shared.grant(&wish)).await {
        Ok(answer) => {
            guest.state().set_grants(sharing.shown());
            answer
        }
        Err(_) => HostAnswer::Failed {
            message: "sharing failed on the host; its log says why".to_owned(),
        },
    }
}
