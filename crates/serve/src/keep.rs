//! What the server does by itself, time and again: unloads models that nobody asks for, writes what models keep of texts,
//! takes up renewed certificates.

use std::time::Duration;

use crate::app::App;
use crate::event::ServeEvent;

/// A model that is to go is gone by this part of its time too late.
const LATE: u32 = 8;
/// Bounds of that.
const LATE_LEAST: Duration = Duration::from_millis(10);
const LATE_MOST: Duration = Duration::from_secs(10);
/// How often the server looks whether its certificate was renewed.
const RENEW: Duration = Duration::from_secs(60);

/// All of it, as far as the options want it; it ends where they want nothing.
pub(crate) async fn keep(app: App) {
    tokio::join!(unload(&app), save(&app), renew(&app));
}

async fn unload(app: &App) {
    let Some(idle) = app.options().idle_unload else {
        return;
    };
    let pause = (idle / LATE).clamp(LATE_LEAST, LATE_MOST);
    loop {
        tokio::time::sleep(pause).await;
        app.models().unload_idle(idle).await;
    }
}

async fn save(app: &App) {
    let Some(pause) = app.options().save_every else {
        return;
    };
    loop {
        tokio::time::sleep(pause).await;
        match app.save().await {
            Ok(0) => {}
            Ok(saved) => (app.options().sink)(ServeEvent::Saved(saved)),
            Err(error) => {
                warn(
                    app,
                    format!("what was kept of texts could not be written: {error}"),
                );
            }
        }
    }
}

async fn renew(app: &App) {
    let Some(tls) = &app.options().tls else {
        return;
    };
    loop {
        tokio::time::sleep(RENEW).await;
        if let Err(error) = tls.renew() {
            warn(app, format!("the certificate stays the old one: {error}"));
        }
    }
}

fn warn(app: &App, words: String) {
    (app.options().sink)(ServeEvent::Warning(words));
}
