// Asks USBGuard's own library, for the vectors of matching and for the benchmark.
//
//   peer applies            stdin: a rule and a device on two lines, again and again; a line 1 or 0 for each
//   peer decides N DEVICE   stdin: a rule set; seconds for each of N decisions about DEVICE, and whether a rule decides
#include <chrono>
#include <iostream>
#include <memory>
#include <string>

#include <usbguard/MemoryRuleSet.hpp>
#include <usbguard/Rule.hpp>

using namespace usbguard;

static int applies()
{
  std::string rule, device;
  while (std::getline(std::cin, rule) && std::getline(std::cin, device)) {
    const Rule ours = Rule::fromString(rule), theirs = Rule::fromString(device);
    std::cout << ours.appliesTo(theirs) << "\n";
  }
  return 0;
}

static int decides(const int count, const std::string& device)
{
  MemoryRuleSet rules(nullptr);
  std::string line;
  while (std::getline(std::cin, line)) {
    rules.appendRule(Rule::fromString(line));
  }
  const auto about = std::make_shared<Rule>(Rule::fromString(device));
  bool decided = false;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    decided = rules.getFirstMatchingRule(about)->getRuleID() != Rule::ImplicitID;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::cout << took.count() / count << " " << decided << "\n";
  return 0;
}

int main(int count, char** words)
{
  if (count == 4 && std::string(words[1]) == "decides") {
    return decides(std::stoi(words[2]), words[3]);
  }
  return applies();
}
