#include "backup.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "mqttq/mqttq.h"

namespace mqttq::server {

namespace {

// Not beyond the one that waits for it. A bound on the size of files is an error like others.
[[noreturn]] void run_child(const std::string& data_dir, const std::string& to, Log& log) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGXFSZ, SIG_IGN);
  mqttq_error error;
  mqttq_error_init(&error, sizeof error);
  const mqttq_status status = mqttq_data_dir_backup(data_dir.c_str(), to.c_str(), Log::on_library_line, &log, &error);
  if (status != MQTTQ_OK) log.write(MQTTQ_LOG_ERROR, error.text);
  ::_exit(status == MQTTQ_OK ? 0 : 1);
}

}  // namespace

// In a child: a store whose pages are damaged may end the process that reads it, and somebody has to tell.
bool back_up(const std::string& data_dir, const std::string& to, Log& log) {
  const pid_t child = ::fork();
  if (child == 0) run_child(data_dir, to, log);
  if (child < 0) {
    log.say(MQTTQ_LOG_ERROR, "{} is not backed up: {}", data_dir, std::strerror(errno));
    return false;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (WIFSIGNALED(status)) {
    log.say(MQTTQ_LOG_ERROR, "{} is not backed up: reading it ended in signal {}; its store may be damaged", data_dir,
            WTERMSIG(status));
    return false;
  }
  if (WEXITSTATUS(status) != 0) return false;
  log.say(MQTTQ_LOG_NOTICE, "{} is backed up in {}", data_dir, to);
  return true;
}

}  // namespace mqttq::server
