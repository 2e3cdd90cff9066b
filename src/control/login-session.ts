// Whether what an ordinary user keeps in memory goes when they log out, while their mounts go on.
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';

/** systemd-logind makes it when it starts. */
const LOGIND = '/run/systemd/seats';
/** A file for each user whose things stay: loginctl(1), enable-linger. */
const LINGER = '/var/lib/systemd/linger';

/**
 * True where systemd-logind takes /run/user/UID, and all of this user in /dev/shm, away at the last logout. logind.conf(5),
 * RemoveIPC.
 */
export function endsAtLogout(): boolean {
  if (process.getuid?.() === 0 || !existsSync(LOGIND)) return false;
  try {
    return !existsSync(`${LINGER}/${userInfo().username}`);
  } catch {
    return true; // no name, so nobody has asked for it
  }
}
